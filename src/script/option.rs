//! The options of sockets that a script can set and read, and their values.

use super::ScriptError;
use super::cursor::Cursor;
use super::types::{Name, Request};
use crate::calls::{OptionName, OptionValue, SocketOption, TcpOption};

/// The name of an option.
pub(super) fn option_name(cursor: &mut Cursor<'_>) -> Result<OptionName, ScriptError> {
    let name = cursor.peek();
    let socket = SOCKET_OPTIONS.into_iter().find(|option| option.name() == Some(name)).map(OptionName::Socket);
    let option =
        socket.or_else(|| TCP_OPTIONS.into_iter().find(|option| option.name() == Some(name)).map(OptionName::Tcp));
    let option = option.ok_or_else(|| {
        let names = SOCKET_OPTIONS.iter().filter_map(|option| option.name());
        let names: Vec<_> = names.chain(TCP_OPTIONS.iter().filter_map(|option| option.name())).collect();
        cursor.unexpected(format!("the options are {}", names.join(", ")))
    })?;
    cursor.word();
    Ok(option)
}

/// An option and its value.
pub(super) fn option(cursor: &mut Cursor<'_>) -> Result<Request, ScriptError> {
    let option = option_name(cursor)?;
    if !cursor.sign(",") {
        return Err(cursor.unexpected("a comma and the value follow, as in setsockopt(SO_LINGER, 0)"));
    }
    if option.is_word() {
        let word = Name::of(cursor.peek()).ok_or_else(|| {
            cursor.unexpected("a word of small letters follows, as in setsockopt(TCP_CONGESTION, reno)")
        })?;
        cursor.word();
        return Ok(Request::SetOption(option, OptionValue::Word(word.as_str().to_owned())));
    }
    let value = cursor.number("value")?;
    Ok(Request::SetOption(
        option,
        match option {
            OptionName::Socket(SocketOption::SO_LINGER) => OptionValue::Linger { on: true, seconds: value },
            _ => OptionValue::Int(value),
        },
    ))
}

const SOCKET_OPTIONS: [SocketOption; 9] = [
    SocketOption::SO_REUSEADDR,
    SocketOption::SO_REUSEPORT,
    SocketOption::SO_KEEPALIVE,
    SocketOption::SO_LINGER,
    SocketOption::SO_RCVBUF,
    SocketOption::SO_SNDBUF,
    SocketOption::SO_RCVTIMEO,
    SocketOption::SO_SNDTIMEO,
    SocketOption::SO_ERROR,
];

const TCP_OPTIONS: [TcpOption; 17] = [
    TcpOption::TCP_NODELAY,
    TcpOption::TCP_CORK,
    TcpOption::TCP_QUICKACK,
    TcpOption::TCP_USER_TIMEOUT,
    TcpOption::TCP_MAXSEG,
    TcpOption::TCP_KEEPIDLE,
    TcpOption::TCP_KEEPINTVL,
    TcpOption::TCP_KEEPCNT,
    TcpOption::TCP_SYNCNT,
    TcpOption::TCP_LINGER2,
    TcpOption::TCP_DEFER_ACCEPT,
    TcpOption::TCP_FASTOPEN,
    TcpOption::TCP_FASTOPEN_CONNECT,
    TcpOption::TCP_CONGESTION,
    TcpOption::TCP_INFO,
    TcpOption::TCP_MD5SIG,
    TcpOption::TCP_AO_ADD_KEY,
];
