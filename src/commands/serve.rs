//! `glmtune serve`: an HTTP server with OpenAI's API.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use glmtune_model::checkpoint::parse_size;
use glmtune_model::device_health;
use glmtune_model::engine::{EngineHandle, EngineOptions, start};
use glmtune_model::files::{self, Limit};
use glmtune_model::model_info::ModelSource;
use glmtune_model::{GlmBackend, ModelInfo};
use tokio::runtime::Runtime;

use super::console::note;
use super::error::{Error, Result};
use super::serve_memory::ServeMemory;
use super::session::{self, Session, compute_type, say_prompting, type_name};
use crate::backend::{Selected, select};
use crate::cli::{ModelArgs, ServeArgs};
use crate::on_backend;
use crate::serve::listen::{Connections, Ending, serve};
use crate::serve::{
    ApiKey, Defaults, Models, Served, ServedModel, Settings, State, is_name, router,
};

/// The key of the environment.
const KEY_VARIABLE: &str = "GLMTUNE_API_KEY";
/// Threads that talk to clients; the engine has its own.
const THREADS: usize = 2;
/// Time between two looks at the device.
const LOOK: Duration = Duration::from_millis(500);

/// An adapter and the name of the model that it makes.
type Named = (String, PathBuf);

/// Runs the command.
pub fn run(args: &ServeArgs) -> Result<()> {
    let settings = settings(args)?;
    let options = engine_options(args)?;
    let adapters = named_adapters(args)?;
    let base = ModelArgs {
        adapter: Vec::new(),
        ..args.model.clone()
    };
    let mut info = session::open(&base)?;
    info.tokenizer()?;
    let source = ModelSource {
        dir: base.model_name_or_path.clone(),
        adapters: Vec::new(),
        mode: Some(info.mode),
        force: base.force,
    };
    let models = models(args, &info, &source, &adapters)?;
    let defaults = Defaults::read(info.dir())?;
    // Before the weights are read, which may take minutes.
    let listener = bind(args)?;
    let selected = select(base.compute.backend, &base.compute.devices)?;
    let engine = on_backend!(&selected, |device: B| start_engine::<B>(
        &info, &base, &selected, &device, &options
    ))?;
    for (name, dir) in adapters {
        engine.load(&name, dir)?;
    }
    let stop_ids = info.stop_ids();
    let tokenizer = info.tokenizer.take().ok_or_else(no_tokenizer)?;
    let served = Served {
        source,
        prompt_format: args.prompting.prompt_format,
        tokenizer: Arc::new(tokenizer),
        mode: info.mode,
        stop_ids,
        defaults,
    };
    let state = State::new(settings, served, models, Arc::new(engine.clone()));
    let done = run_server(args, Arc::new(state), listener);
    engine.stop();
    engine.join();
    done
}

/// Loads the base and starts the engine that owns it.
fn start_engine<B: GlmBackend>(
    info: &ModelInfo,
    args: &ModelArgs,
    selected: &Selected,
    device: &B::Device,
    options: &EngineOptions,
) -> Result<EngineHandle> {
    let dtype = compute_type::<B>(info, args, selected, device)?;
    let memory = ServeMemory::of(&info.config, dtype.try_into()?, options)?;
    memory.check(selected)?;
    let session = Session::<B>::load_in(dtype, info, selected, device)?;
    note(format!(
        "{} ({}) on {selected}, {}, loaded in {:.1} s",
        args.model_name_or_path.display(),
        info.mode,
        type_name(session.dtype),
        session.load_time.as_secs_f64()
    ));
    note(memory.describe());
    Ok(start(session.model, info.config.clone(), options.clone())?)
}

fn no_tokenizer() -> Error {
    Error::Request("the model has no tokenizer".to_string())
}

fn engine_options(args: &ServeArgs) -> Result<EngineOptions> {
    Ok(EngineOptions {
        kv_cache: parse_size(&args.kv_cache)?,
        max_running: args.max_running,
        max_waiting: args.max_waiting,
        max_sequence: args.max_length,
        ..EngineOptions::default()
    })
}

/// The flags, all faults together.
fn settings(args: &ServeArgs) -> Result<Settings> {
    let max_body = parse_size(&args.max_body)?;
    let api_key = api_key(args)?;
    let mut faults = Vec::new();
    if !args.host.is_loopback() && api_key.is_none() {
        faults.push(format!(
            "--host {}: anybody who reaches this address could use the server; give a key by --api_key_file FILE or \
             {KEY_VARIABLE}",
            args.host
        ));
    }
    if max_body < 1024 {
        faults.push("--max_body must be at least 1 KiB".to_string());
    }
    let counts = [
        ("--max_running", args.max_running as u64),
        ("--max_waiting", args.max_waiting as u64),
        ("--request_timeout", args.request_timeout),
    ];
    let none = counts.into_iter().filter(|(_, count)| *count == 0);
    faults.extend(none.map(|(flag, _)| format!("{flag} must be at least 1")));
    let origins = args.cors_origin.iter().filter(|origin| !is_origin(origin));
    faults.extend(origins.map(|origin| {
        format!("--cors_origin {origin}: expected an origin such as https://example.com, or *")
    }));
    let folder = args.allow_adapter_loading.as_ref();
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let folder = folder.display();
        faults.push(format!(
            "--allow_adapter_loading {folder}: no such directory"
        ));
    }
    if !faults.is_empty() {
        return Err(Error::Request(faults.join("\n")));
    }
    Ok(Settings {
        local_only: api_key.is_none(),
        api_key,
        cors_origins: args.cors_origin.clone(),
        max_body: usize::try_from(max_body).unwrap_or(usize::MAX),
        request_timeout: Duration::from_secs(args.request_timeout),
        adapter_dir: args.allow_adapter_loading.clone(),
        logs_prompts: args.log_prompts,
        seed: args.seed,
        ..Settings::default()
    })
}

/// Scheme, name and perhaps a port, as browsers send it.
fn is_origin(origin: &str) -> bool {
    let rest = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'/')
    };
    origin == "*" || rest.is_some_and(is_name)
}

/// The key of the file, or of the environment.
fn api_key(args: &ServeArgs) -> Result<Option<ApiKey>> {
    const FILE: Limit = Limit::new("a key", 4096);
    let (text, origin) = match &args.api_key_file {
        Some(path) => (files::read_text(path, FILE)?, path.display().to_string()),
        None => match std::env::var_os(KEY_VARIABLE) {
            Some(key) => (key.to_string_lossy().into_owned(), KEY_VARIABLE.to_string()),
            None => return Ok(None),
        },
    };
    let key = ApiKey::new(&text).ok_or_else(|| {
        Error::Request(format!(
            "{origin}: a key must be one word of visible ASCII characters"
        ))
    })?;
    Ok(Some(key))
}

/// NAME=DIR of each `--adapter`.
fn named_adapters(args: &ServeArgs) -> Result<Vec<Named>> {
    let named = |given: &PathBuf| {
        let text = given.to_string_lossy();
        let (name, dir) = text.split_once('=').unwrap_or_default();
        match is_name(name) && !dir.is_empty() {
            true => Ok((name.to_string(), PathBuf::from(dir))),
            false => Err(Error::Request(format!(
                "--adapter {text}: expected NAME=DIR, with a name of letters, digits, or any of . _ - :"
            ))),
        }
    };
    args.model.adapter.iter().map(named).collect()
}

/// The name of the base: never a path of this machine.
fn base_name(args: &ServeArgs) -> Result<String> {
    if let Some(name) = &args.served_model_name {
        let fits =
            (1..=256).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        return match fits {
            true => Ok(name.clone()),
            false => Err(Error::Request(
                "--served_model_name: expected 1 to 256 visible ASCII characters".to_string(),
            )),
        };
    }
    let dir = &args.model.model_name_or_path;
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.clone());
    let name = dir
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    Ok(name.unwrap_or_else(|| "model".to_string()))
}

/// The base and the adapters, each with the prompts that it was made for.
fn models(
    args: &ServeArgs,
    info: &ModelInfo,
    source: &ModelSource,
    adapters: &[Named],
) -> Result<Models> {
    let format = args.prompting.prompt_format;
    let prompting = info.prompting(format);
    say_prompting(&prompting);
    let models = Models::new(ServedModel::base(base_name(args)?, prompting), []);
    for (name, dir) in adapters {
        let source = source.clone().with_adapter(dir);
        let adapted = ModelInfo::read(source, &mut |line| note(line))?;
        if !models.add(ServedModel::adapter(name, adapted.prompting(format))) {
            return Err(Error::Request(format!(
                "--adapter {name}={}: another model has this name",
                dir.display()
            )));
        }
    }
    Ok(models)
}

fn bind(args: &ServeArgs) -> Result<TcpListener> {
    let address = SocketAddr::new(args.host, args.port);
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        Error::Failed(format!(
            "{address}: {error}; --port 0 takes any that is free"
        ))
    })
}

/// What ends with the server.
struct End(Arc<State>);

impl Ending for End {
    fn drain(&self) {
        self.0.drain();
    }

    fn end(&self) {
        self.0.engine.stop();
    }
}

fn run_server(args: &ServeArgs, state: Arc<State>, listener: TcpListener) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("http")
        .enable_all()
        .build()?;
    let bounds = Connections {
        drain_timeout: Duration::from_secs(args.shutdown_timeout),
        ..Connections::default()
    };
    let cut_off = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let signals = Signals::new()?;
        note(format!("listening on http://{}", listener.local_addr()?));
        for model in state.models.all() {
            note(format!("model {}", model.name));
        }
        let end = End(state.clone());
        let stop = stop(signals, args.shutdown_timeout);
        Ok::<usize, io::Error>(serve(listener, router(state), bounds, stop, &end).await)
    })?;
    close(runtime);
    if cut_off > 0 {
        note(format!("{cut_off} connections were cut off"));
    }
    Ok(())
}

/// A text that is still being made into tokens is not waited for.
fn close(runtime: Runtime) {
    runtime.shutdown_background();
}

/// Waits for the first signal, or for the failure of the device; a second signal ends the program at once.
async fn stop(mut signals: Signals, seconds: u64) {
    tokio::select! {
        () = signals.next() => {}
        () = device_failed() => return,
    }
    note(format!(
        "ending: answers under way have {seconds} s; a second signal ends at once"
    ));
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(130);
    });
}

async fn device_failed() {
    while device_health::check().is_ok() {
        tokio::time::sleep(LOOK).await;
    }
}

/// What asks the server to end.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What asks the server to end.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        for origin in ["*", "https://example.com", "http://localhost:3000"] {
            assert!(is_origin(origin), "{origin}");
        }
        for origin in [
            "",
            "example.com",
            "https://",
            "https://example.com/",
            "https://a b",
        ] {
            assert!(!is_origin(origin), "{origin}");
        }
    }
}
