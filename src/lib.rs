//! tcpflow joins the three witnesses of a TCP connection: the program's calls, the segments on the wire, and the kernel's states.
//!
//! The path of a packet, module by module; each names only those before it:
//! [`time`] → [`capture`] (bytes to frames) → [`wire`] (frames to segments) → [`tcp`] (segments to states and findings) →
//! [`kernel`] and [`calls`] (the other two witnesses), [`script`] (all of them, written down) → [`flow`] (connections), [`passage`] (two captures of the same ones) → [`story`] (the joins, as a timeline).

pub mod time;

pub mod share;

pub mod hash;

pub mod capture;

pub mod wire;

pub mod tcp;

pub mod kernel;

pub mod calls;

pub mod script;

pub mod flow;

pub mod passage;

pub mod story;

pub mod session;

pub mod report;

pub mod lab;

pub mod cli;

pub mod commands;
