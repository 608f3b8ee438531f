//! The flags of `glmtune serve`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::Args;

use super::{ModelArgs, PromptArgs};

/// `glmtune serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// The model; `adapter` holds NAME=DIR.
    #[command(flatten)]
    pub model: ModelArgs,
    /// The chat format.
    #[command(flatten)]
    pub prompting: PromptArgs,
    /// Address to listen on; anything but this machine's own needs a key.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS", value_parser = parse_host)]
    pub host: IpAddr,
    /// Port to listen on; 0 for any that is free.
    #[arg(long, default_value_t = 8000, value_name = "N")]
    pub port: u16,
    /// File with the key that clients must send; without it, GLMTUNE_API_KEY of the environment is one.
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Name of the base in requests [default: the name of its directory].
    #[arg(long, value_name = "NAME")]
    pub served_model_name: Option<String>,
    /// Memory for keys and values of all requests together.
    #[arg(long, default_value = "1GB", value_name = "SIZE")]
    pub kv_cache: String,
    /// Most answers that are computed at once.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub max_running: usize,
    /// Most answers that wait beside them; further requests are told to come again.
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub max_waiting: usize,
    /// Most tokens of prompt and answer together [default: what the model is made for, or what fits].
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// Largest body of a request.
    #[arg(long, default_value = "8MiB", value_name = "SIZE")]
    pub max_body: String,
    /// Seconds that an answer may take, waiting included.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub request_timeout: u64,
    /// Seconds that answers under way may still take when the server is told to end.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub shutdown_timeout: u64,
    /// Origin whose web pages may use the server, such as `https://example.com`, or `*` for all; may be repeated.
    #[arg(long, value_name = "ORIGIN")]
    pub cors_origin: Vec<String>,
    /// Let clients load and unload adapters of this directory.
    #[arg(long, value_name = "DIR")]
    pub allow_adapter_loading: Option<PathBuf>,
    /// Write prompts into the log (GLMTUNE_LOG=info shows it).
    #[arg(long)]
    pub log_prompts: bool,
    /// Seed of the draws of requests that bring none [default: another each time].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// An address, or the usual name of the machine's own.
fn parse_host(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => text
            .parse()
            .map_err(|_| "expected an IP address, such as 127.0.0.1, 0.0.0.0 or ::1".to_string()),
    }
}
