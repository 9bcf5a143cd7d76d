//! `cargo xtask install`: what the tests need on a Debian 12 machine that has Rust and a C compiler.
//!
//! Installing twice is quick: each tool is asked for itself, there is no stamp file. Debian's packages come from
//! apt; everything else goes into `target/tools`, so nothing outside the project changes. No service is started.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    run::{Outcome, capture, cargo, run, run_quietly, step},
    tools::{has_program, tools_directory},
};

/// A program that the tests run, and the Debian package that has it.
const DEBIAN: [(&str, &str); 29] = [
    ("postgres", "postgresql"),
    ("psql", "postgresql-client"),
    ("mariadbd", "mariadb-server"),
    ("mariadb", "mariadb-client"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("curl", "curl"),
    ("aria2c", "aria2"),
    ("openssl", "openssl"),
    ("certtool", "gnutls-bin"),
    ("vfychain", "libnss3-tools"),
    ("go", "golang-go"),
    ("javac", "openjdk-17-jdk-headless"),
    ("sqlite3", "sqlite3"),
    ("nginx", "nginx"),
    ("squid", "squid-openssl"),
    ("strace", "strace"),
    ("promtool", "prometheus"),
    ("ip", "iproute2"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("update-ca-certificates", "ca-certificates"),
    ("docker-registry", "docker-registry"),
    ("htpasswd", "apache2-utils"),
    ("skopeo", "skopeo"),
    ("podman", "podman"),
    ("tinyproxy", "tinyproxy-bin"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
];

/// Debian's own Python, not one that a person keeps for other work.
const PYTHON: &str = "/usr/bin/python3";

const MOTO: &str = "5.2.5";
/// The definition of OTLP, as Python reads it.
const OPENTELEMETRY_PROTO: &str = "1.45.2";
const AZURITE: &str = "3.35.0";
const GARAGE: &str = "2.5.0";

/// Installs what is missing and says so; an installation that fails is an error with the installer's output.
pub(crate) fn install() -> Outcome {
    step("Debian packages", install_debian)?;
    step("moto, an S3 and GCS look-alike", install_moto)?;
    step("OpenTelemetry's definition of OTLP, for a collector", install_opentelemetry_proto)?;
    step("Azurite, Microsoft's own Azure Blob emulator", install_azurite)?;
    step("Garage, an S3 server", install_garage)?;
    step("cargo-nextest, the test runner", install_nextest)
}

fn install_debian() -> Outcome {
    let mut missing: Vec<&str> =
        DEBIAN.iter().filter(|(program, _)| !has_program(program)).map(|(_, package)| *package).collect();
    if !can_make_environments() {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    println!("    missing: {}", missing.join(" "));
    // Lists may be absent or old, so an installation that fails gets a second chance with new ones.
    apt_install(&missing).or_else(|_| {
        run_quietly(as_root("apt-get").args(["update", "-q"]))?;
        apt_install(&missing)
    })
}

/// While `policy-rc.d` forbids it, no package starts its service: the tests start their own servers.
fn apt_install(packages: &[&str]) -> Outcome {
    const SCRIPT: &str = r#"
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            trap 'rm -f "$policy"' EXIT
            printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod 755 "$policy"
        fi
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=900 "$@"
    "#;
    run_quietly(as_root("sh").args(["-c", SCRIPT, "sh"]).args(packages))
}

/// The command itself for root, otherwise through `sudo` (which may ask for a password).
fn as_root(program: &str) -> Command {
    let is_root = capture(Command::new("id").arg("-u")).is_ok_and(|id| id.stdout.trim() == "0");
    if is_root {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

/// Debian splits `venv` from Python; the module `ensurepip` is the part that is missing then.
fn can_make_environments() -> bool {
    capture(Command::new(PYTHON).args(["-c", "import ensurepip, venv"])).is_ok_and(|answer| answer.success)
}

fn install_moto() -> Outcome {
    let environment = tools_directory().join("venv");
    let python = environment.join("bin/python");
    if prints(Command::new(&python).args(["-c", "import importlib.metadata as m; print(m.version('moto'))"]), MOTO) {
        return Ok(());
    }
    create_directory(&tools_directory())?;
    run_quietly(Command::new(PYTHON).args(["-m", "venv", "--clear"]).arg(&environment))?;
    run_quietly(Command::new(&python).args(["-m", "pip", "install", "--quiet", &format!("moto[server]=={MOTO}")]))
}

/// Beside moto, whose environment is there by now.
fn install_opentelemetry_proto() -> Outcome {
    let python = tools_directory().join("venv/bin/python");
    let version = "import importlib.metadata as m; print(m.version('opentelemetry-proto'))";
    if prints(Command::new(&python).args(["-c", version]), OPENTELEMETRY_PROTO) {
        return Ok(());
    }
    let package = format!("opentelemetry-proto=={OPENTELEMETRY_PROTO}");
    run_quietly(Command::new(&python).args(["-m", "pip", "install", "--quiet", &package]))
}

fn install_azurite() -> Outcome {
    let directory = tools_directory().join("node");
    let program = directory.join("node_modules/.bin/azurite-blob");
    if prints(Command::new(program).arg("--version"), AZURITE) {
        return Ok(());
    }
    create_directory(&directory)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--no-save", "--prefix"]).arg(&directory);
    run_quietly(npm.arg(format!("azurite@{AZURITE}")))
}

/// Garage comes as source only. An unoptimised build serves the tests as well and takes far less time.
fn install_garage() -> Outcome {
    let tools = tools_directory();
    if prints(Command::new(tools.join("bin/garage")).arg("--version"), GARAGE) {
        return Ok(());
    }
    println!("    building from source, this takes several minutes");
    let build = tools.join("build-garage");
    let mut install = cargo(&["install", &format!("garage@{GARAGE}"), "--locked", "--debug", "--quiet"]);
    install.args(["--no-default-features", "--features", "bundled-libs,sqlite", "--root"]).arg(&tools);
    install.arg("--target-dir").arg(&build).env("CARGO_PROFILE_DEV_DEBUG", "0").current_dir("/");
    run(&mut install)?;
    std::fs::remove_dir_all(&build).map_err(|error| format!("cannot remove `{}`: {error}", build.display()))
}

fn install_nextest() -> Outcome {
    if capture(&mut cargo(&["nextest", "--version"])).is_ok_and(|answer| answer.success) {
        return Ok(());
    }
    println!("    building from source, this takes several minutes");
    run(cargo(&["install", "cargo-nextest", "--locked", "--quiet"]).current_dir("/"))
}

/// Whether the program can be started and names this version.
fn prints(command: &mut Command, version: &str) -> bool {
    let answer = command.stdin(Stdio::null()).output();
    answer.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(version))
}

fn create_directory(directory: &Path) -> Outcome {
    std::fs::create_dir_all(directory).map_err(|error| format!("cannot create `{}`: {error}", directory.display()))
}
