//! What `scripts/setup.sh` would run on a machine that lacks everything, by its package manager; and on one that lacks nothing.

mod executable;

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{fs, thread};

/// A folder of programs that stands for all that a machine has.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str) -> Self {
        let bin = Path::new(env!("CARGO_TARGET_TMPDIR")).join("setup").join(name);
        let _ = fs::remove_dir_all(&bin);
        fs::create_dir_all(&bin).unwrap();
        let machine = Self(bin);
        for tool in ["sh", "sed", "mktemp", "rm", "dirname"] {
            let found = ["/bin", "/usr/bin"].map(|dir| Path::new(dir).join(tool));
            symlink(found.iter().find(|path| path.exists()).expect(tool), machine.0.join(tool)).unwrap();
        }
        machine
    }

    /// Adds a program that prints `says`, or fails where that is `None`.
    fn with(self, program: &str, says: Option<&str>) -> Self {
        let path = self.0.join(program);
        let body = says.map_or("exit 1".into(), |says| format!("echo '{says}'"));
        executable::make(&path, format!("#!/bin/sh\n{body}\n").as_bytes());
        self
    }

    fn setup(&self) -> Output {
        Command::new(self.0.join("sh"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/setup.sh"))
            .arg("--dry-run")
            .env_clear()
            .env("PATH", &self.0)
            .env("HOME", "/nonexistent")
            .output()
            .unwrap()
    }

    /// The commands it would run, in order.
    fn commands(&self) -> Vec<String> {
        let output = self.setup();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        told.lines().filter_map(|line| line.strip_prefix("setup: running: ")).map(String::from).collect()
    }
}

#[test]
fn each_system_gets_its_own_packages() {
    for (manager, first) in [
        ("apt-get", "apt-get install -y --no-install-recommends gcc libc6-dev libpcap-dev"),
        ("dnf", "dnf install -y gcc glibc-devel libpcap-devel"),
        ("pacman", "pacman -Sy --needed --noconfirm gcc libpcap"),
        ("apk", "apk add gcc musl-dev libpcap-dev"),
        ("zypper", "zypper --non-interactive install gcc glibc-devel libpcap-devel"),
    ] {
        let root = Machine::new(manager).with(manager, Some("")).with("id", Some("0"));
        assert_eq!(root.commands()[0], first);
        let user = root.with("id", Some("1000")).with("sudo", Some(""));
        assert_eq!(user.commands()[0], format!("sudo {first}"));
    }
}

#[test]
fn debian_gets_its_cargo_from_rustup_and_arch_from_its_own_package() {
    let debian = Machine::new("rustup-debian").with("apt-get", Some("")).with("id", Some("0")).commands();
    assert_eq!(debian[1], "apt-get install -y --no-install-recommends curl ca-certificates");
    assert!(debian[2].starts_with("curl ") && debian[2].ends_with(" https://sh.rustup.rs"), "{debian:?}");
    assert!(debian[3].ends_with("rustup.sh -y --profile minimal --no-modify-path"), "{debian:?}");
    let arch = Machine::new("rustup-arch").with("pacman", Some("")).with("id", Some("0")).commands();
    assert_eq!(arch[1], "pacman -Sy --needed --noconfirm rust");
}

#[test]
fn an_old_cargo_is_brought_up_to_date_by_the_rustup_that_is_there() {
    let machine = Machine::new("old")
        .with("cc", Some(""))
        .with("id", Some("1000"))
        .with("cargo", Some("cargo 1.65.0 (4bc8f24d3 2022-10-20)"))
        .with("rustup", Some(""));
    assert_eq!(machine.commands(), ["rustup toolchain install stable --profile minimal", "rustup default stable"]);
}

#[test]
fn nothing_is_touched_where_all_is_there() {
    for cargo in ["cargo 1.88.0", "cargo 1.95.0 (f2d3ce0bd 2026-03-21)", "cargo 2.0.0"] {
        let output = Machine::new("complete")
            .with("cc", Some(""))
            .with("cargo", Some(cargo))
            .with("apt-get", None)
            .with("sudo", None)
            .setup();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{cargo}");
        assert!(output.status.success(), "{cargo}");
    }
}

#[test]
fn without_a_way_to_root_the_command_is_told() {
    let output = Machine::new("no-sudo").with("dnf", Some("")).with("id", Some("1000")).setup();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    let last = told.lines().last().unwrap();
    assert!(
        last.contains("neither sudo nor doas") && last.ends_with("dnf install -y gcc glibc-devel libpcap-devel"),
        "{told}"
    );
}

#[test]
fn what_cargo_builds_is_looked_for_where_cargo_puts_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = |machine: Option<&Machine>, folder: Option<&str>| {
        let mut command = Command::new(root.join("scripts/target.sh"));
        command.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_BUILD_TARGET");
        command.envs(folder.map(|folder| ("CARGO_TARGET_DIR", folder)));
        command.envs(machine.map(|machine| ("PATH", &machine.0)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for folder in ["/elsewhere/shared", "/else where/it's \"shared\""] {
        assert_eq!(target(None, Some(folder)), format!("{folder}\n"));
    }
    // Root may have no cargo to ask.
    let bare = Machine::new("bare");
    assert_eq!(target(Some(&bare), Some("/elsewhere/shared")), "/elsewhere/shared\n");
    assert_eq!(target(Some(&bare), None), format!("{}/target\n", root.display()));
    assert_eq!(target(Some(&bare), Some("")), format!("{}/target\n", root.display()));
}

#[test]
fn no_recipe_and_no_script_guesses_where_cargo_builds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let recipes = ["demo", "install", "captures", "picture", "pictures", "bench", "clean-bench"];
    let output = Command::new("make")
        .args(["-n", "-C"])
        .arg(root)
        .args(recipes)
        .env("CARGO_TARGET_DIR", "/elsewhere/shared")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .expect("make is there, as for everyone who builds with it");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{shown}{}", String::from_utf8_lossy(&output.stderr));
    let named: Vec<&str> = shown.split_whitespace().filter(|word| word.contains("release/tcpflow")).collect();
    assert!(named.len() >= recipes.len(), "{shown}");
    for word in named {
        assert!(word.trim_start_matches('"').starts_with("/elsewhere/shared/release/tcpflow"), "{word}");
    }
    let scripts = fs::read_dir(root.join("scripts")).unwrap().map(|entry| entry.unwrap().path());
    for path in scripts.chain([root.join("Makefile"), root.join(".ci/run")]) {
        let text = fs::read_to_string(&path).unwrap();
        for guess in ["target/release", "target/debug"] {
            assert!(!text.contains(guess), "{} names {guess}", path.display());
        }
    }
}

#[test]
fn a_program_just_made_can_be_run_whatever_others_are_started_meanwhile() {
    // Long, so that while it is written another is started.
    let script = format!("#!/bin/sh\necho made\nexit\n{}", "#".repeat(1 << 20));
    thread::scope(|scope| {
        for name in ["one", "two", "three", "four"] {
            let (machine, script) = (Machine::new(name), script.as_bytes());
            scope.spawn(move || {
                for number in 0..10 {
                    let path = machine.0.join(number.to_string());
                    executable::make(&path, script);
                    let mut command = Command::new(path);
                    // SAFETY: between fork and exec it only gives the processor away, which makes the time between them longer.
                    unsafe {
                        command.pre_exec(|| {
                            (0..10).for_each(|_| thread::yield_now());
                            Ok(())
                        })
                    };
                    assert_eq!(command.output().expect("it starts").stdout, b"made\n");
                }
            });
        }
    });
}
