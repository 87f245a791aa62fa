//! What let a call return: the SYN-ACK a connect, the end of the handshake an accept, the FIN a receive of 0, the RST an error.

use super::icmp::ended_by;
use super::timeline::Timeline;
use super::{EventId, Remark};
use crate::calls::{Effect, Errno};
use crate::flow::{ConnectionId, Side};

impl Timeline {
    /// Finds what let a call of an end return, if a segment did; where that was not seen yet, the call waits for it.
    pub(super) fn complete(&mut self, connection: ConnectionId, side: Side, event: EventId) {
        let Some(connection) = self.connections.get_mut(&connection) else { return };
        let answers = connection.ends[connection.other(side) as usize].answers;
        let call = &self.events.call(event).call;
        let failed = call.errno().is_some();
        if let Some(heard) = ended_by(connection.ends[side as usize].heard, call) {
            let call = self.events.call_mut(event);
            call.completed_by.get_or_insert(heard.event);
            call.remark = Some(Remark::AnsweredByIcmp { frame: heard.frame, kind: heard.error.kind });
            return;
        }
        let is_end = call.effect() == Effect::Receive && call.result() == Some(0);
        let answer = match call.effect() {
            Effect::Connect if failed => answers.reset,
            Effect::Connect => answers.syn_ack.or(answers.ack),
            Effect::Accept => answers.ack,
            Effect::Receive if is_end => answers.fin,
            Effect::Receive | Effect::Send
                if matches!(call.errno(), Some(Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED)) =>
            {
                answers.reset
            }
            _ => return,
        };
        let by = |seen: &&super::connection::Seen| call.returned_at().is_none_or(|at| seen.latest <= Some(at));
        let Some(answer) = answer else {
            connection.ends[side as usize].unanswered.push(event);
            return;
        };
        let Some(seen) = Some(&connection.seen[answer]).filter(by) else { return };
        let was_complete = call.effect() == Effect::Accept && seen.at.is_some_and(|at| at < call.entered);
        let (completed_by, frame) = (seen.event, seen.frame);
        let call = self.events.call_mut(event);
        call.completed_by.get_or_insert(completed_by);
        if call.remark == Some(Remark::RefusedUnseen) {
            call.remark = Some(Remark::Refused);
        }
        if was_complete && call.remark != Some(Remark::OnlyOneFits) {
            call.remark = Some(Remark::HandshakeWasComplete);
        }
        if is_end {
            call.remark = Some(Remark::PeerClosed { frame });
        }
    }
}
