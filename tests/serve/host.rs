//! A server on a socket of its own, as long as a test lasts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use glmtune::model::model_info::ModelSource;
use glmtune::model::rows::Prompting;
use glmtune::model::tokenizer::{Mode, Tokenizer, small_tokenizer};
use glmtune::serve::listen::{Connections, Ending, serve};
use glmtune::serve::{Defaults, Engine, Models, Served, ServedModel, Settings, State, router};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::fake::FakeEngine;

pub struct Host {
    pub address: SocketAddr,
    pub engine: Arc<FakeEngine>,
    pub state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    done: Option<JoinHandle<usize>>,
    runtime: Option<Runtime>,
}

/// What a test changes of a server.
pub struct Plan {
    pub settings: Settings,
    pub connections: Connections,
    pub mode: Mode,
    pub source: PathBuf,
}

struct End(Arc<State>);

impl Ending for End {
    fn drain(&self) {
        self.0.drain();
    }

    fn end(&self) {
        self.0.engine.stop();
    }
}

/// The tokenizer of bytes, with the special tokens of a family.
pub fn byte_tokenizer(mode: Mode) -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    let (tokenizer, config) = small_tokenizer(mode);
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer).unwrap();
    std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    Tokenizer::from_dir(dir.path(), Some(mode)).unwrap()
}

impl Host {
    pub fn start(engine: FakeEngine, change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = Plan {
            settings: Settings::default(),
            connections: Connections::default(),
            mode: Mode::Glm3,
            source: PathBuf::new(),
        };
        change(&mut plan);
        engine.run();
        let engine = Arc::new(engine);
        let state = Arc::new(state(&plan, engine.clone()));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let service = router(state.clone());
        let end = End(state.clone());
        let bounds = plan.connections;
        let done = runtime.spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            serve(listener, service, bounds, stop, &end).await
        });
        Self {
            address,
            engine,
            state,
            stop: Some(stop),
            done: Some(done),
            runtime: Some(runtime),
        }
    }

    /// Tells the server to end.
    pub fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits for the end; gives how many connections were cut off.
    pub fn wait(&mut self, limit: Duration) -> usize {
        let done = self.done.take().unwrap();
        let runtime = self.runtime.as_ref().unwrap();
        let waited = runtime.block_on(async { tokio::time::timeout(limit, done).await });
        waited.expect("the server did not end in time").unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.engine.stop();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn state(plan: &Plan, engine: Arc<dyn Engine>) -> State {
    let tokenizer = Arc::new(byte_tokenizer(plan.mode));
    let stop_ids = tokenizer.stop_ids(plan.mode);
    let prompting = Prompting::published(plan.mode);
    let served = Served {
        source: ModelSource::new(plan.source.clone()),
        prompt_format: None,
        tokenizer,
        mode: plan.mode,
        stop_ids,
        defaults: Defaults::default(),
    };
    let tuned = ServedModel::adapter("tuned", prompting.clone());
    let models = Models::new(ServedModel::base("base", prompting), [tuned]);
    State::new(plan.settings.clone(), served, models, engine)
}

/// A copy of a golden model, with a tokenizer of bytes.
pub fn golden(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/golden")
        .join(family)
}
