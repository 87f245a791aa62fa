# make demo      shows a TCP connection's life: calls, segments and states
# make test      tries everything
# make check     format, lints, documentation, dependencies
# make install   puts the binary, its manual pages and its completions below PREFIX (and DESTDIR)
# make captures  makes the captures and their stored outputs in captures/ anew
# make lab-captures  plays every scenario and keeps what was captured in captures/lab
# make bench     measures tcpflow beside cat and its peers; its captures take 10 GB, and `make clean-bench` removes them
#
# Each of them first sees that a C compiler, libpcap and cargo are there, and touches nothing where they are.

PREFIX  ?= /usr/local
DESTDIR ?=
CARGO   ?= cargo
# Options of `make demo`, as in: make demo DEMO="--first-close server --rebind"
DEMO    ?=
# Options of `make bench`, as in: make bench BENCH="--scale 0.1 --only many,scan"
BENCH   ?=
# A folder of captures with tshark's answers beside them, and the program that compares.
TCPFLOW_CAPTURES ?= ../shared/captures
TCPFLOW_COMPARE  ?= ../shared/check/compare_tshark.py
export TCPFLOW_CAPTURES TCPFLOW_COMPARE

# The folder that cargo builds into, as CARGO_TARGET_DIR or cargo's configuration say; it is asked for once, and only by what needs it.
TARGET = $(eval TARGET := $$(shell PATH='$(PATH)' CARGO='$(CARGO)' CARGO_TARGET_DIR='$(CARGO_TARGET_DIR)' scripts/target.sh))$(TARGET)
BINARY = $(TARGET)/release/tcpflow

# Where rustup puts cargo, for a shell that has not read its profile since.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: build symbols setup demo test peers check deny install uninstall captures lab-captures picture pictures bench clean-bench clean

build: setup
	$(CARGO) build --release --locked

# The release binary has no line tables. This makes one that has them in a file of its own, which backtraces, debuggers and profilers
# find as long as it lies beside it: for who distributes tcpflow, or looks for a fault.
symbols: setup
	$(CARGO) build --profile symbols --locked
	install -d "$(TARGET)/distributed"
	cd "$(TARGET)/distributed" && objcopy --only-keep-debug ../symbols/tcpflow tcpflow.debug
	cd "$(TARGET)/distributed" && objcopy --strip-all --add-gnu-debuglink=tcpflow.debug ../symbols/tcpflow tcpflow
	@echo "$(TARGET)/distributed has tcpflow, and its line tables in tcpflow.debug"

setup:
	@scripts/setup.sh

demo: build
	@"$(BINARY)" demo $(DEMO)

# Debug, because there every overflow is a panic; a wrong sum must not pass for a right one.
# With the feature `parquet` only the tests that bear its name: the others are the same without it.
test: setup
	$(CARGO) test --locked
	$(CARGO) test --locked --features parquet --lib --test many_files parquet
	@$(MAKE) --no-print-directory peers

peers:
	@scripts/peers.sh

check: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --all-targets --locked --features parquet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --locked --features parquet --document-private-items
	@$(MAKE) --no-print-directory deny

# Licences, duplicate versions, sources, and known vulnerabilities where their database can be reached.
deny:
	@scripts/deny.sh

# Root, who may have no cargo, installs what was built before; sudo hides where that is, if CARGO_TARGET_DIR says it:
# sudo make install CARGO_TARGET_DIR="$CARGO_TARGET_DIR"
install:
	@if [ "$$(id -u)" -ne 0 ] || [ ! -x "$(BINARY)" ]; then $(MAKE) --no-print-directory build; fi
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/share/man/man1" \
		"$(DESTDIR)$(PREFIX)/share/bash-completion/completions" \
		"$(DESTDIR)$(PREFIX)/share/zsh/site-functions" \
		"$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d"
	install -m 755 "$(BINARY)" "$(DESTDIR)$(PREFIX)/bin/tcpflow"
	"$(BINARY)" man "$(DESTDIR)$(PREFIX)/share/man/man1"
	"$(BINARY)" completions bash > "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/tcpflow"
	"$(BINARY)" completions zsh > "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_tcpflow"
	"$(BINARY)" completions fish > "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/tcpflow.fish"
	@echo
	@echo "To capture on the host's own interfaces without sudo from now on:"
	@echo "  sudo setcap cap_net_raw+ep $(PREFIX)/bin/tcpflow"

uninstall:
	rm -f "$(DESTDIR)$(PREFIX)/bin/tcpflow" "$(DESTDIR)$(PREFIX)"/share/man/man1/tcpflow.1 \
		"$(DESTDIR)$(PREFIX)"/share/man/man1/tcpflow-*.1 \
		"$(DESTDIR)$(PREFIX)/share/bash-completion/completions/tcpflow" \
		"$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_tcpflow" \
		"$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/tcpflow.fish"

captures: build
	scripts/captures.sh "$(BINARY)" captures

# What was captured at each host in every scenario of the lab, the timeline, and what was expected: below 10 MB.
lab-captures: build
	scripts/lab_captures.sh "$(BINARY)" captures/lab

# The picture in the README, from a real run.
picture: build
	"$(BINARY)" demo --color always --width 128 | python3 scripts/picture.py "tcpflow demo" > docs/demo.svg

# The same at four widths, on black and on white, to be looked at after a change of colours or of columns.
pictures: build
	@scripts/pictures.sh "$(BINARY)" "$(TARGET)/pictures"

bench: build
	@scripts/bench.sh "$(BINARY)"
	$(CARGO) run --quiet --release --locked --package speed -- --tcpflow "$(BINARY)" $(BENCH)

clean-bench:
	rm -rf "$(TARGET)/bench"

clean:
	$(CARGO) clean
