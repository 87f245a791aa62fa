//! The list of a connection's fields: the one place where they are named, described and read.
//!
//! A row reads as a field of a structure does: its sentence, its name, the type of its value, the unit that it counts in where the type
//! does not say so, its heading in the table where it has a column there, and the value.
//! Rows stand in blocks, in the order of the `connection` line: `rows` are fields of the object that the list describes, `mostly_zero`
//! are counts that are nearly always 0, all of them; `ends`, `reasons`, `problems` and `sides` are objects within it, whose fields the other lists name,
//! and `divided` is one of such objects, which may be null as a whole.
//!
//! Each list hands itself to the macro `$with`, behind the arguments in brackets, and so becomes [`Field`](super::Field)s in one place
//! and the writer of the `connection` line in another, which has no value in between.

/// Hands on the fields of a connection `c`.
macro_rules! connection_fields {
    ($with:ident $args:tt) => {
        $with! { $args |c|
            rows {
                /// Number of the connection, from 0 in the order of first segments (tcp.stream).
                id: u64, as "id" = c.id.0;
            }
            ends {
                /// The end that opened the connection: the sender of the first SYN, as far as one was captured.
                client, as "client" = c.client;
                /// The other end.
                server, as "server" = c.server;
            }
            rows {
                /// Whether the capture began after the connection did: no SYN was captured.
                midstream: bool = c.midstream;
                /// When the first segment was captured.
                first: Option<Timestamp>, as "began" = c.first;
                /// When the last segment was captured.
                last: Option<Timestamp> = c.last;
                /// From the first segment to the last.
                duration_ns: Option<Span>, as "duration" = c.duration();
                /// Number of the frame with the first segment.
                first_frame: Frame = Frame(c.first_frame);
                /// Number of the frame with the last segment.
                last_frame: Frame = Frame(c.last_frame);
                /// What was captured of it (tcp.completeness): the sum of SYN 1, SYN-ACK 2, ACK 4, DATA 8, FIN 16, RST 32.
                completeness: u8 = c.completeness;
                /// Zeek's conn_state.
                conn_state: ConnState = c.conn_state;
                /// Zeek's history.
                history: Letters = c.history;
                /// From the SYN to the ACK that ends the handshake (tcp.analysis.initial_rtt).
                initial_rtt_ns: Option<Span> = c.initial_rtt;
                /// State of the client after the last segment, or as the kernel said later where it was queried.
                client_state: Option<State>, as "client in" = c.client_state;
                /// State of the server, likewise.
                server_state: Option<State>, as "server in" = c.server_state;
                /// What the client's state rests on: a segment that it sent proves it, the kernel said it, or a segment is believed to have arrived.
                client_state_basis: Option<Basis> = c.client_state_basis;
                /// What the server's state rests on.
                server_state_basis: Option<Basis> = c.server_state_basis;
                /// What says which end is the client: it sent a SYN, took a SYN-ACK, the other end has a well-known or the lower port, or it sent what came first.
                roles_basis: RolesBasis = c.roles_basis;
                /// Who sent the first FIN, or the RST that ended it; both where the FINs crossed; null also where the RST was forged.
                closed_by: Option<Closer> = c.closed_by;
                /// How it ended.
                ending: Ending, as "ending" = c.ending;
                /// Its life and ending in one or two sentences, always in English.
                verdict: Cow<'static, str>, as "verdict" = English.ending(c);
            }
            rows {
                /// ICMP errors that quote its segments.
                icmp_errors: u64 = c.icmp.map_or(0, |icmp| u64::from(icmp.errors));
                /// What the last of them says.
                icmp_error: Option<IcmpKind> = c.icmp.map(|icmp| icmp.last.kind);
                /// Who sent that one.
                icmp_from: Option<IpAddr> = c.icmp.map(|icmp| icmp.last.from);
                /// The largest packet that goes on from there, where fragmentation was needed and the error tells it.
                icmp_mtu: Option<u64> = c.icmp.and_then(|icmp| icmp.last.mtu).map(u64::from);
            }
            reasons {
                /// The verdict as data: a code, and the facts that it rests on.
                reason = &c.verdict;
            }
            problems {
                /// What hurt the connection most, as data; null where nothing stands out. Its figures are null where they are not known, or do not belong to its kind.
                problem = c.problem.as_deref();
            }
            sides {
                /// What the client sent, and what was measured on it.
                client_to_server = &c.client_to_server;
                /// What the server sent, and what was measured on it.
                server_to_client = &c.server_to_client;
            }
            rows {
                /// Its findings: remarkable segments, and witnesses that disagree. A list for --where and in json lines; elsewhere their number.
                findings: Findings, in Findings = Findings::of(c);
                /// Findings that were counted but are not in that list.
                findings_omitted: u64, in Findings = c.findings_omitted;
            }
            divided {
                /// Where its time went, in classes that add up to duration_ns: with --breakdown, or where --where or --sort names one of them; else null.
                breakdown: c.breakdown.as_deref(), |b| {
                    /// As the client's octets spent it.
                    client_to_server = &b.client_to_server;
                    /// As the server's octets spent it.
                    server_to_client = &b.server_to_client;
                    /// As the connection did: where the directions differ, the one that held it up.
                    total = &b.total;
                }
            }
        }
    };
}

/// Hands on those fields of a verdict `v` that every one has.
macro_rules! reason_fields {
    ($with:ident $args:tt) => {
        $with! { $args |v|
            rows {
                /// What the verdict says. Resets: in_handshake before it was complete; octets_after_close for octets that came after its sender's FIN; after_own_fin, after_peers_fin; keep_alives_unanswered; abort with ACK, no_connection without, while neither end had closed.
                code: Code = Code(v.code());
            }
        }
    };
}

/// Hands on the fields of what hurt a connection most, `p`, an optional [`Problem`](crate::flow::Problem).
macro_rules! problem_fields {
    ($with:ident $args:tt) => {
        $with! { $args |p|
            rows {
                /// What it is. docs/answers.md shows each of them with its sentence.
                kind: Option<ProblemKind> = p.map(|p| p.kind);
                /// The end that it is about: whose segments were lost or not acknowledged, whose window was zero, who was silent, in whose name octets or a RST were forged.
                side: Option<Side> = p.map(|p| p.side);
                /// When it began.
                since: Option<Timestamp> = p.and_then(|p| p.since);
                /// How long it lasted: from the first to the last of its segments, or all windows of zero or all waiting together.
                lasted_ns: Option<Span> = p.and_then(|p| p.lasted);
                /// Of loss: how long nothing else was captured before the retransmissions, in all.
                waited_ns: Option<Span> = p.and_then(|p| p.waited);
                /// Whether it went on until the connection's last segment, or the capture's end.
                until_end: Option<bool> = p.map(|p| p.until_end);
                /// How many segments it is about, or how often the same was sent; of zero_window, how often the window was zero; of silence, how many keep-alives came in it.
                times: Option<u64> = p.and_then(|p| p.segments);
                /// How many segments that end sent in all.
                of_segments: Option<u64>, in Segments = p.and_then(|p| p.of_segments);
                /// How many octets were retransmitted, or injected.
                octets_again: Option<u64>, in Octets = p.and_then(|p| p.octets);
                /// Octets of a segment that does not arrive.
                size_lost: Option<u32>, in Octets = p.and_then(|p| p.size_lost);
                /// The most octets that one that arrived can have had.
                size_passed: Option<u32>, in Octets = p.and_then(|p| p.size_passed);
                /// Of window_scale_ignored: the peer's window as it is scaled.
                window: Option<u32>, in Octets = p.and_then(|p| p.windows).map(|windows| windows[0]);
                /// The same window as it stands in the header.
                window_unscaled: Option<u32>, in Octets = p.and_then(|p| p.windows).map(|windows| windows[1]);
                /// The largest packet that a router forwards, by its ICMP error.
                mtu: Option<u32>, in Octets = p.and_then(|p| p.mtu);
                /// Of silence: who had sent the last octets, so that it may have been the other's turn; null where the same end sent the next ones.
                after: Option<Side> = p.and_then(|p| p.after);
                /// Of forged_reset and conflicting_octets: the time to live of what may be forged, where it differs from that of the end's other segments.
                ttl: Option<u8> = p.and_then(|p| p.ttls).map(|ttls| ttls[0]);
                /// The time to live of those.
                usual_ttl: Option<u8> = p.and_then(|p| p.ttls).map(|ttls| ttls[1]);
                /// Of what was never acknowledged: what it is.
                what: Option<Unacknowledged> = p.and_then(|p| p.what);
            }
        }
    };
}

/// Hands on the fields of an end `e`, a socket address.
macro_rules! end_fields {
    ($with:ident $args:tt) => {
        $with! { $args |e|
            rows {
                /// IP address.
                addr: IpAddr = e.ip();
                /// TCP port.
                port: u16 = e.port();
            }
        }
    };
}

/// Hands on the fields of one side `s`, a [`SideSummary`](crate::flow::SideSummary).
macro_rules! side_fields {
    ($with:ident $args:tt) => {
        $with! { $args |s|
            rows {
                /// Segments.
                segments: u64, in Segments = s.segments;
                /// Sum of payload lengths (tcp.len).
                octets: u64, in Octets, as "octets" = s.octets;
                /// Octets with each stream position counted once.
                unique_octets: u64, in Octets = s.unique_octets;
                /// Segments with SYN; a SYN-ACK counts.
                syn: u64, in Segments = s.syn;
                /// Segments with FIN.
                fin: u64, in Segments = s.fin;
                /// Segments with RST.
                rst: u64, in Segments = s.rst;
                /// The first initial sequence number; null when no SYN was captured.
                isn: Option<u32> = s.isn;
                /// Maximum segment size announced.
                mss: Option<u16>, in Octets = s.mss;
                /// Window scale announced.
                window_scale: Option<u8>, in Bits = s.window_scale;
                /// Whether SACK was permitted; null when no SYN was captured.
                sack_permitted: Option<bool> = s.isn.map(|_| s.sack_permitted);
                /// Whether timestamps were offered; null when no SYN was captured.
                timestamps: Option<bool> = s.isn.map(|_| s.timestamps);
            }
            mostly_zero {
                /// Segments flagged retransmission, fast_retransmission or spurious_retransmission.
                retransmissions: u64, in Segments = s.retransmissions;
                /// Of these, the fast ones.
                fast_retransmissions: u64, in Segments = s.fast_retransmissions;
                /// Of these, the spurious ones.
                spurious_retransmissions: u64, in Segments = s.spurious_retransmissions;
                /// Segments out of order.
                out_of_order: u64, in Segments = s.out_of_order;
                /// Duplicate acknowledgements.
                duplicate_acks: u64, in Segments = s.duplicate_acks;
                /// Segments before which one was not captured.
                lost_segments: u64, in Segments = s.lost_segments;
                /// Acknowledgements of segments that were not captured.
                acked_unseen: u64, in Segments = s.acked_unseen;
                /// Zero windows announced.
                zero_windows: u64, in Segments = s.zero_windows;
                /// Segments that filled the peer's window.
                window_fulls: u64, in Segments = s.window_fulls;
                /// Window updates.
                window_updates: u64, in Segments = s.window_updates;
                /// Keep-alives.
                keep_alives: u64, in Segments = s.keep_alives;
                /// Zero-window probes.
                zero_window_probes: u64, in Segments = s.zero_window_probes;
            }
            rows {
                /// Shortest time from a segment to its acknowledgement (Karn's rule).
                rtt_min_ns: Option<Span> = s.rtt_min_ns.map(Span);
                /// Mean of those times.
                rtt_avg_ns: Option<Span> = s.rtt_avg_ns.map(Span);
                /// Longest of them.
                rtt_max_ns: Option<Span> = s.rtt_max_ns.map(Span);
            }
        }
    };
}

/// Hands on the fields of a division `p` of the duration, [`Parts`](crate::flow::Parts) where there is one.
macro_rules! parts_fields {
    ($with:ident $args:tt) => {
        $with! { $args |p|
            rows {
                /// The handshake.
                handshake_ns: Option<Span> = p.map(|p| p.of(Class::Handshake));
                /// Waiting for the client's program: nothing was under way, and it was the next to send.
                client_program_ns: Option<Span> = p.map(|p| p.of(Class::ClientProgram));
                /// Waiting for the server's program.
                server_program_ns: Option<Span> = p.map(|p| p.of(Class::ServerProgram));
                /// Limited by the sender's program or send buffer: octets were under way, and there was room for more.
                sender_program_ns: Option<Span> = p.map(|p| p.of(Class::SenderProgram));
                /// Limited by the receiver's window.
                receiver_window_ns: Option<Span> = p.map(|p| p.of(Class::ReceiverWindow));
                /// The same, while the window was zero.
                zero_window_ns: Option<Span> = p.map(|p| p.of(Class::ZeroWindow));
                /// Limited by the network: the path's time, or the congestion window.
                network_ns: Option<Span> = p.map(|p| p.of(Class::Network));
                /// Waiting for lost octets that a timer repaired.
                timeout_ns: Option<Span> = p.map(|p| p.of(Class::Timeout));
                /// Waiting for lost octets that fast recovery repaired.
                fast_recovery_ns: Option<Span> = p.map(|p| p.of(Class::FastRecovery));
                /// Waiting for an acknowledgement that was held back (delayed ACK, often with Nagle's algorithm).
                delayed_ack_ns: Option<Span> = p.map(|p| p.of(Class::DelayedAck));
                /// From the first FIN on where nothing else went on, or from the RST on.
                closing_ns: Option<Span> = p.map(|p| p.of(Class::Closing));
                /// Nothing was under way, and no octets followed; in a direction also while the other one was at work.
                idle_ns: Option<Span> = p.map(|p| p.of(Class::Idle));
                /// What the segments do not show.
                unknown_ns: Option<Span> = p.map(|p| p.of(Class::Unknown));
            }
        }
    };
}

pub(in crate::report) use {connection_fields, end_fields, parts_fields, problem_fields, reason_fields, side_fields};
