//! The examples that stand below the help of each subcommand.

pub(super) const EXAMPLES: &str = "\
Examples:
  tcpflow demo                      a connection's life, with its calls and states
  tcpflow analyze trace.pcapng      one line for each connection of a capture
  tcpflow analyze -t -c 3 trace.pcapng tcp port 80
  tcpflow run -- ./server 3000      the calls, segments and states of a program

`tcpflow COMMAND --help` has more of them.

Exit status:
  0  the work was done
  1  an assertion or expectation did not hold
  2  bad usage or unreadable input; standard error names the file or option and how to fix it";

pub(super) const DEMO_EXAMPLES: &str = "\
Examples:
  tcpflow demo                                 echo `helloworld` over IPv4 loopback
  tcpflow demo --ipv6 -m hello -m world        two messages over IPv6
  tcpflow demo --wait                          see TIME-WAIT end after 60 s
  tcpflow demo --follow                        each row as soon as it is certain
  tcpflow demo --first-close server --rebind   why a server cannot start again: EADDRINUSE
  tcpflow demo --size 1000000 --mtu 1500       a megabyte in textbook-sized segments
  tcpflow demo --clients 3                     three connections at once
  tcpflow demo --refused                       connect to a closed port
  tcpflow demo --retry same                    a socket that is refused and connects again
  tcpflow demo --save echo.pcapng              keep it for Wireshark and for `tcpflow analyze -t`
  tcpflow demo --format jsonl | jq .           for programs
  tcpflow demo --list                          the other scenarios
  tcpflow demo fin-lost                        one of them: what is sent again when a FIN is lost
  tcpflow demo data-lost --set link.delay=50ms change one thing and run it again
  tcpflow demo --compare slow-start slow-start,link.delay=10ms
  tcpflow demo --new mine                      write mine.toml; then: tcpflow demo ./mine.toml
  tcpflow demo --all                           play every scenario and check what it says";

pub(super) const ANALYZE_EXAMPLES: &str = "\
Examples:
  tcpflow analyze trace.pcapng                     one line for each connection
  tcpflow analyze -t -c 0,7 trace.pcapng           the timelines of connections 0 and 7
  tcpflow analyze --summary trace.pcapng           one page on all of them, and what to look at first
  tcpflow analyze trace.pcap host 10.0.0.1 and port 443
  tcpflow analyze monday.pcap tuesday.pcap.gz      several files as one capture
  tcpdump -w - tcp | tcpflow analyze -             from a pipe
  tcpflow analyze --where 'ending == \"reset\"' trace.pcap
  tcpflow analyze --where 'problem.kind == \"zero_window\"' --sort -problem.lasted_ns trace.pcap
  tcpflow analyze --sort -client_to_server.octets --top 10 trace.pcap
  tcpflow analyze --breakdown trace.pcap           where each connection's time went
  tcpflow analyze --findings --format csv trace.pcap
  tcpflow analyze --format jsonl trace.pcap | jq .verdict
  tcpflow analyze --client-side a.pcap --server-side b.pcap    which segments were lost between the two, and how long others took

An argument that names a file is a file (write ./tcp for a file named tcp); from the first one on that does not, all are one filter.";

pub(super) const LIVE_EXAMPLES: &str = "\
Examples:
  sudo tcpflow live                                what happens on the default interface
  sudo tcpflow live -i lo tcp port 3000            a server on this host, by its port
  sudo tcpflow live -i any --every 10              with a table of the open connections every ten seconds
  sudo tcpflow live -t -i lo tcp port 3000         every segment of them, with its cause and the states
  sudo tcpflow live -w trace.pcapng tcp            keep the frames, too
  sudo tcpflow live -w trace.pcapng --rotate-size 100M --files 10 tcp
                                                   the last gigabyte, in files of 100 MB
  sudo tcpflow live --where 'server.port == 443'   only connections for which this holds
  sudo tcpflow live --format jsonl | jq -c 'select(.type == \"connection\" and .ending == \"reset\")'

`sudo setcap cap_net_raw+ep $(command -v tcpflow)`, once, makes sudo unnecessary.";

pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  sudo tcpflow run -- curl -s http://example.org/    a program's calls, joined to its packets
  tcpflow run --isolated -- ./test_suite             without root, in a network of its own
  tcpflow run -o calls.txt -- ./server 3000          the timeline goes into a file
  tcpflow run --isolated --server './srv 3000' --client './cli 127.0.0.1 3000'
                                                     both ends on one page
  sudo tcpflow run -p 4711                           a process that runs already
  tcpflow run --stack -- ./server 3000               with the source line of each call
  tcpflow run --save it.pcapng -- ./server 3000      kept for Wireshark and `tcpflow analyze -t`
  tcpflow run --assert 'connections.all(c, c.ending == \"fin\")' -- ./test_suite
                                                     exit status 1 if one ended otherwise
  tcpflow run -o - --format jsonl -- ./server | jq -c 'select(.type == \"call\")'

What a line means is told in docs/timeline.md, and what is watched in docs/run.md.";

pub(super) const INTERFACES_EXAMPLES: &str = "\
Examples:
  tcpflow interfaces
  tcpflow interfaces --format jsonl | jq -r 'select(.why_not == null).name'";

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  tcpflow completions bash > ~/.local/share/bash-completion/completions/tcpflow
  tcpflow completions zsh > ~/.zfunc/_tcpflow
  tcpflow completions fish > ~/.config/fish/completions/tcpflow.fish";

pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  tcpflow man | man -l -
  tcpflow man ~/.local/share/man/man1";
