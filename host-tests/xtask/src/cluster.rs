//! `cargo xtask cluster`: the instance managers' suite on a real Kubernetes API server with its real controllers.
//!
//! Intuition: no registry has the server as a program, but Debian has its source, and a compiler and the store for it. What is
//! built is kept in `target/forebay/cluster`, so that this takes minutes once and seconds from then on. Nodes and what runs on
//! them are played by the suite itself (`controller/provision/tests/suite/kubernetes/cluster`).
//!
//! Debian 12 has 1.20. It does not know `pod-deletion-cost` (1.22) and pod resizes (1.33); storage, watches, server-side apply,
//! admission, quotas and rights are as they are now. Two of its vendored packages end under compilers newer than itself, so
//! Debian's newer ones take their places.
//!
//! It is no part of `cargo xtask test`: the build would be asked of everybody.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::failure::{Failure, probe, run};
use crate::packages;
use crate::verbs::NATIVE;
use crate::workspace::Workspace;

/// What `cargo xtask cluster --help` prints.
pub(crate) const HELP: &str = "\
Runs the suite of the Kubernetes instance manager on a real API server with its real controllers, built from Debian's sources
on the first run (some minutes; 125 MB of downloads, 1 GB kept). Nodes are played.

Usage: cargo xtask cluster [ARGUMENTS OF THE TEST BINARY]

  cargo xtask cluster                      the whole suite, two minutes
  cargo xtask cluster what_goes_is_drained only the tests whose name contains that, of the other managers too
  FOREBAY_CLUSTER_PODS=5000 cargo xtask cluster scale
                                           what a look costs with so many pods: requests and bytes";

/// Debian's sources of Kubernetes, and what it is built with.
const SOURCES: &str = "deb-src http://deb.debian.org/debian bookworm main\n\
    deb-src http://deb.debian.org/debian-security bookworm-security main\n";
const TOOLS: [&str; 5] = [
    "golang-1.19-go",
    "golang-1.19-src",
    "etcd-server",
    "golang-github-modern-go-reflect2-dev",
    "golang-github-json-iterator-go-dev",
];
/// Longest that a server may take until it is ready, on a machine that has much else to do.
const STARTS_WITHIN: Duration = Duration::from_secs(180);

/// Versions of the store that are older than the API server, and the key that is written for them, in base64.
const WRITES_BEFORE: usize = 4;
const KEY_BEFORE: &str = "YWdl";

/// Builds what is missing, from the unpacked tools in `tools` and the sources in `src`, into `bin`. The published types are
/// generated first: server-side apply knows lists and their keys from them, and the archive leaves them out.
const BUILD: &str = r#"
set -e
export GOROOT="$PWD/tools/usr/lib/go-1.19" GOPATH="$PWD/go" GO111MODULE=off CGO_ENABLED=0 GOCACHE="$PWD/cache" HOME="$PWD"
export PATH="$GOROOT/bin:$PATH"
tree="$GOPATH/src/k8s.io/kubernetes"
rm -rf "$GOPATH" && mkdir -p "$GOPATH/src/k8s.io" bin && cp -r src/kubernetes-1.*/ "$tree"
newer="$PWD/tools/usr/share/gocode/src/github.com" vendored="$tree/vendor/github.com"
for package in modern-go/reflect2 json-iterator/go; do
    rm "$vendored/$package"/*.go && cp "$newer/$package"/*.go "$vendored/$package"
done
cd "$tree"
go build -o "$GOPATH/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
published=$(grep -rl --include='*.go' --exclude='*_test.go' --exclude='zz_*' '+k8s:openapi-gen=true' staging/src/k8s.io pkg \
    | xargs -n1 dirname | sort -u | sed 's#^staging/src/#vendor/#; s#^#k8s.io/kubernetes/#' \
    | grep -v '_examples\|sample-\|testing' | paste -sd,)
"$GOPATH/openapi-gen" --logtostderr -i "$published" -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi \
    -h hack/boilerplate/boilerplate.generatego.txt -r /dev/null --output-base "$GOPATH/src"
for program in kube-apiserver kube-controller-manager; do
    go build -o "$OLDPWD/bin/$program" "./cmd/$program"
done
"#;

/// Runs the suite; see the module's text.
pub(crate) fn run_suite(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let folder = workspace.artefact("cluster")?;
    provide(&folder)?;
    println!("cluster: building the suite");
    // As the other verbs do, so that nothing is compiled twice.
    let suite = || {
        let mut cargo = workspace.cargo();
        cargo.arg("test").args(NATIVE).args(["--test", "suite"]);
        cargo
    };
    run(suite().args(["--no-run", "--quiet"]))?;
    let cluster = Cluster::start(&folder)?;
    println!("cluster: ready at {}", cluster.kubeconfig.display());
    let all = ["kubernetes::cluster".to_owned()];
    let chosen = if arguments.is_empty() { &all } else { arguments };
    run(suite().env("FOREBAY_CLUSTER", &cluster.kubeconfig).arg("--").args(chosen))
}

fn provide(folder: &Path) -> Result<(), Failure> {
    for (tool, asked, why) in [
        ("openssl", "version", "openssl, which makes the key that the API server signs with"),
        ("curl", "--version", "curl, by which the servers are asked whether they are ready"),
    ] {
        if probe(Command::new(tool).arg(asked)).is_none() {
            packages::install(&[tool], why)?;
        }
    }
    if ["kube-apiserver", "kube-controller-manager"].iter().all(|name| folder.join("bin").join(name).is_file()) {
        return Ok(());
    }
    for tool in TOOLS {
        packages::unpack(tool, &folder.join("tools"), "what the API server is built with and stores in")?;
    }
    packages::source("kubernetes", SOURCES, &folder.join("src"), "the API server and its controllers")?;
    println!("cluster: building the API server and its controllers, once");
    run(Command::new("sh").args(["-c", BUILD]).current_dir(folder))?;
    // The compiler's working copies are ten times the programs.
    for left in ["go", "cache", "src"] {
        std::fs::remove_dir_all(folder.join(left)).map_err(|error| failure(&folder.join(left), &error))?;
    }
    Ok(())
}

fn failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

/// The running servers; they end with it.
struct Cluster {
    kubeconfig: PathBuf,
    servers: Vec<Child>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for server in self.servers.iter_mut().rev() {
            // One that has ended already is as it should be.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Cluster {
    fn start(folder: &Path) -> Result<Self, Failure> {
        let state = folder.join("state");
        let _ = std::fs::remove_dir_all(&state);
        std::fs::create_dir_all(&state).map_err(|error| failure(&state, &error))?;
        let [store, peers, api] = [free_port()?, free_port()?, free_port()?];
        let mut cluster = Self { kubeconfig: state.join("kubeconfig"), servers: Vec::new() };
        cluster.write(&state, api)?;
        run(Command::new("openssl").args(["genrsa", "-out", "signing.key", "2048"]).current_dir(&state))?;

        let (store, peers) = (format!("http://127.0.0.1:{store}"), format!("http://127.0.0.1:{peers}"));
        cluster.serve(
            &state,
            &folder.join("tools/usr/bin/etcd"),
            [
                "--data-dir=etcd",
                &format!("--listen-client-urls={store}"),
                &format!("--advertise-client-urls={store}"),
                &format!("--listen-peer-urls={peers}"),
                &format!("--initial-advertise-peer-urls={peers}"),
                &format!("--initial-cluster=default={peers}"),
                "--unsafe-no-fsync",
            ],
        )?;
        age(&store)?;
        cluster.serve(
            &state,
            &folder.join("bin/kube-apiserver"),
            [
                &format!("--etcd-servers={store}"),
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                &format!("--secure-port={api}"),
                "--cert-dir=certificates",
                "--token-auth-file=tokens.csv",
                "--authorization-mode=RBAC",
                "--service-account-issuer=https://localhost",
                "--service-account-signing-key-file=signing.key",
                "--service-account-key-file=signing.key",
                // The accounts of its pods have no tokens: nothing of theirs runs.
                "--disable-admission-plugins=ServiceAccount",
                "--service-cluster-ip-range=10.96.0.0/24",
            ],
        )?;
        cluster.wait_until_ready(&state, api)?;
        cluster.serve(
            &state,
            &folder.join("bin/kube-controller-manager"),
            [
                "--kubeconfig=kubeconfig",
                "--leader-elect=false",
                "--port=0",
                "--secure-port=0",
                "--controllers=deployment,replicaset,garbagecollector,namespace,resourcequota",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
            ],
        )?;
        Ok(cluster)
    }

    /// Who may call: an administrator, and the account that the manifest of rights names.
    fn write(&self, state: &Path, api: u16) -> Result<(), Failure> {
        let tokens = "administrator,admin,1,\"system:masters\"\n\
            manager,system:serviceaccount:forebay:forebay,2,\"system:serviceaccounts:forebay\"\n";
        let kubeconfig = format!(
            "{{apiVersion: v1, kind: Config, current-context: admin,\n\
             clusters: [{{name: real, cluster: {{server: \"https://127.0.0.1:{api}\", insecure-skip-tls-verify: true}}}}],\n\
             users: [{{name: admin, user: {{token: administrator}}}}, {{name: forebay, user: {{token: manager}}}}],\n\
             contexts: [{{name: admin, context: {{cluster: real, user: admin}}}},\n\
             \u{20} {{name: forebay, context: {{cluster: real, user: forebay}}}}]}}\n"
        );
        for (path, text) in [(state.join("tokens.csv"), tokens), (self.kubeconfig.clone(), &kubeconfig)] {
            std::fs::write(&path, text).map_err(|error| failure(&path, &error))?;
        }
        Ok(())
    }

    /// Starts a server whose log lies beside its state.
    fn serve<const N: usize>(&mut self, state: &Path, program: &Path, arguments: [&str; N]) -> Result<(), Failure> {
        let name = program.file_name().map_or("server".into(), OsStr::to_string_lossy);
        let log = File::create(state.join(format!("{name}.log"))).map_err(|error| failure(state, &error))?;
        let also = log.try_clone().map_err(|error| failure(state, &error))?;
        let server = Command::new(program)
            .args(arguments)
            .current_dir(state)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(also)
            .spawn()
            .map_err(|error| failure(program, &error))?;
        self.servers.push(server);
        Ok(())
    }

    fn wait_until_ready(&mut self, state: &Path, api: u16) -> Result<(), Failure> {
        let deadline = Instant::now() + STARTS_WITHIN;
        let url = format!("https://127.0.0.1:{api}/readyz");
        while probe(Command::new("curl").args(["-sfk", "-H", "Authorization: Bearer administrator", &url])).is_none() {
            let ended = self.servers.iter_mut().any(|server| !matches!(server.try_wait(), Ok(None)));
            if ended || Instant::now() > deadline {
                return Err(Failure::new(format!("no API server within {} s", STARTS_WITHIN.as_secs()))
                    .with_remedy(format!("tail {}/*.log    # what the servers said", state.display())));
            }
            sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

/// Writes to the store before the API server reads it, so that there are versions that the server has never kept: asked for
/// them, it says so, as one that runs for long does.
fn age(store: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + STARTS_WITHIN;
    for write in 0..WRITES_BEFORE {
        let entry = format!("{{\"key\": \"{KEY_BEFORE}\", \"value\": \"{KEY_BEFORE}\"}}");
        let url = format!("{store}/v3/kv/put");
        while probe(Command::new("curl").args(["-sf", "-d", &entry, &url])).is_none() {
            if Instant::now() > deadline {
                return Err(Failure::new(format!("the store at {store} took {write} of {WRITES_BEFORE} writes")));
            }
            sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let port = listener.and_then(|listener| listener.local_addr()).map(|address| address.port());
    port.map_err(|error| Failure::new(format!("no free port on loopback: {error}")))
}
