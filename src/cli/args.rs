//! The command line, defined once: help and completions come from these types.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::sandbox_args::SandboxArgs;
use crate::oci::Platform;
use crate::step::destination::Destination;

/// Takes a container image from a healthy registry to live, and proves that it is the digest that was verified.
#[derive(Debug, Parser)]
#[command(
    name = "shipgate",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    after_help = "`shipgate PIPELINE` is `shipgate run PIPELINE`. Exit codes: docs/exit-codes.md"
)]
pub struct Cli {
    /// What to do; without it the pipeline is run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The run that is asked for when there is no command.
    #[command(flatten)]
    pub run: RunArgs,
    /// How the command talks.
    #[command(flatten)]
    pub talk: TalkArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a pipeline.
    Run(RunArgs),
    /// Show what a run would do: steps, digests, requests, bytes and grants. Writes nothing but its report.
    Plan(RunArgs),
    /// Check pipelines without touching the network, inputs or secrets.
    Validate(ValidateArgs),
    /// Write a first pipeline from flags or a few answers.
    Init(InitArgs),
    /// Print the JSON Schema of the pipeline document.
    Schema,
    /// End what killed runs left open: their `on-failure` and `finally` steps, their reports.
    Finish(FinishArgs),
    /// Fetch images into the cache.
    Pull(PullArgs),
    /// Verify the signatures of images by key.
    Verify(VerifyArgs),
    /// Look into the cache and keep it in order.
    Cache {
        /// What to do with the cache.
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What `cache` can do.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Write images of the cache into a file or a folder.
    Export(CacheExportArgs),
    /// Remove what nobody has used for longest, down to a size.
    Gc(CacheGcArgs),
    /// Print a key for CI caches, the same as long as the cache holds the same images.
    Key(CacheArgs),
    /// List what the cache holds.
    #[command(alias = "list")]
    Ls(CacheArgs),
    /// Remove an image, and the blobs that no other image has.
    Rm(CacheRmArgs),
    /// Offer the cache as a read-only registry on loopback, until it is interrupted.
    Serve(CacheServeArgs),
    /// Hash every blob, and remove those that are damaged, so that the next pull fetches them again.
    Verify(CacheVerifyArgs),
}

/// How a command talks. The same in every command.
#[derive(Args, Clone, Debug, Default)]
pub struct TalkArgs {
    /// Say only errors and the verdict.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say every blob and every sample too.
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// The form of the output.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub format: Format,
    /// Colour the output. `auto` minds NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE and the terminal.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// The system's own in GitHub Actions and GitLab CI, bars on a terminal, plain lines elsewhere.
    #[default]
    Auto,
    /// Plain lines in groups, with annotations and masks, for GitHub Actions.
    Github,
    /// Plain lines in sections, for GitLab CI.
    Gitlab,
    /// One line a state change.
    Plain,
    /// One JSON object a line.
    Json,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Color {
    /// As the environment and the terminal say.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where images are kept and how registries are spoken to. The same in every command.
#[derive(Args, Clone, Debug, Default)]
pub struct StoreArgs {
    /// The cache folder [default: $XDG_CACHE_HOME/shipgate or ~/.cache/shipgate].
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Speak plain HTTP to every registry, or with `=false` TLS, on loopback too, where plain HTTP is the usual.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub plain_http: Option<bool>,
}

/// A pipeline and what it is given.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// The pipeline file; `-` reads standard input.
    #[arg(required = true, value_name = "PIPELINE")]
    pub pipeline: Option<PathBuf>,
    /// Set an input of the pipeline.
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    pub inputs: Vec<String>,
    /// Run only these steps; `finally` runs all the same.
    #[arg(long, value_name = "ID", value_delimiter = ',', conflicts_with_all = ["from", "until"])]
    pub only: Vec<String>,
    /// Begin with this step.
    #[arg(long, value_name = "ID")]
    pub from: Option<String>,
    /// End with this step.
    #[arg(long, value_name = "ID")]
    pub until: Option<String>,
    /// Pin digests, and list the hosts that registries lead to: written if the file is not there, honoured if it is.
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,
    /// Write the report into this folder: report.json, junit.xml, code-quality.json, summary.md.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Where images are kept and how registries are spoken to.
    #[command(flatten)]
    pub store: StoreArgs,
    /// How it runs in the sandbox.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

/// Which killed runs to finish.
#[derive(Args, Clone, Debug)]
pub struct FinishArgs {
    /// The cache folder that the runs had [default: $XDG_CACHE_HOME/shipgate or ~/.cache/shipgate].
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Write the report files into this folder instead of the one that the run was given.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Finish this run alone, whatever its age and wherever it was begun.
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
}

/// Pipelines to check.
#[derive(Args, Clone, Debug)]
pub struct ValidateArgs {
    /// The pipeline files; `-` reads standard input.
    #[arg(required = true, value_name = "PIPELINE")]
    pub pipelines: Vec<PathBuf>,
    /// Write the report into this folder: report.json, junit.xml, code-quality.json, summary.md.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// How they are checked in the sandbox.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

/// What a first pipeline is made of.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// The file to write; `-` prints it.
    #[arg(default_value = "pipeline.yml", value_name = "FILE")]
    pub file: PathBuf,
    /// The image to preload.
    #[arg(long, value_name = "REFERENCE")]
    pub image: Option<String>,
    /// The public key that signed it, as `cosign generate-key-pair` writes it.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The URL that answers 200 when the service is up.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The variable that holds a Slack incoming webhook.
    #[arg(long, value_name = "VARIABLE")]
    pub slack_env: Option<String>,
    /// Overwrite the file.
    #[arg(long)]
    pub force: bool,
}

/// Images to fetch.
#[derive(Args, Clone, Debug)]
pub struct PullArgs {
    /// The images.
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
    /// The platform to choose of an index [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Where they go besides the cache: docker, containerd\[:NAMESPACE\], docker-archive:FILE, oci-archive:FILE, oci-layout:DIR, registry:HOST/REPO.
    #[arg(long, value_name = "DESTINATION", value_parser = Destination::parse)]
    pub to: Vec<Destination>,
    /// Trust these certificate authorities too (PEM).
    #[arg(long, value_name = "FILE")]
    pub ca: Vec<PathBuf>,
    /// Where images are kept and how registries are spoken to.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Images to verify.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// The images.
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
    /// A public key that may have signed them; several are alternatives.
    #[arg(long, required_unless_present_any = ["identity", "trust_policy"], value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// An identity that may have signed them (`*` and `**` are patterns); several are alternatives.
    #[arg(long, requires = "issuer", value_name = "PATTERN")]
    pub identity: Vec<String>,
    /// Who vouches for the identities, to the letter.
    #[arg(long, requires = "identity", value_name = "URL")]
    pub issuer: Option<String>,
    /// The trust root: `sigstore`, `github` or a `trusted_root.json` [default: sigstore].
    #[arg(long, value_name = "FILE")]
    pub trusted_root: Vec<String>,
    /// A `trustpolicy.json` of notation: signatures of the Notary Project count as it says.
    #[arg(long, requires = "trust_store", value_name = "FILE")]
    pub trust_policy: Option<PathBuf>,
    /// The folder `truststore` that belongs to it, with `x509` below.
    #[arg(long, requires = "trust_policy", value_name = "DIR")]
    pub trust_store: Option<PathBuf>,
    /// A host that may be asked whether certificates are revoked, with the port if it is not 80.
    #[arg(long, value_name = "HOST")]
    pub revocation_host: Vec<String>,
    /// Whether a transparency log must have the signatures [default: required with --identity, ignored with --key].
    #[arg(long, value_enum, value_name = "WHETHER")]
    pub tlog: Option<LogArgument>,
    /// Trust these certificate authorities too (PEM).
    #[arg(long, value_name = "FILE")]
    pub ca: Vec<PathBuf>,
    /// Speak plain HTTP to every registry, or with `=false` TLS, on loopback too, where plain HTTP is the usual.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub plain_http: Option<bool>,
}

/// Whether a transparency log must have signatures.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogArgument {
    /// They count without.
    Ignored,
    /// A log must have them.
    Required,
}

/// Which cache.
#[derive(Args, Clone, Debug)]
pub struct CacheArgs {
    /// The cache folder [default: $XDG_CACHE_HOME/shipgate or ~/.cache/shipgate].
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

/// How much of the cache to keep.
#[derive(Args, Clone, Debug)]
pub struct CacheGcArgs {
    /// The most that the cache may hold afterwards, for instance 20GiB.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_size: u64,
    /// Keep the images that this lock file pins, whatever their age.
    #[arg(long, value_name = "FILE")]
    pub lock: Vec<PathBuf>,
    /// The cache.
    #[command(flatten)]
    pub place: CacheArgs,
}

/// What of the cache to remove.
#[derive(Args, Clone, Debug)]
pub struct CacheRmArgs {
    /// The images, by their references or digests as `cache ls` prints them.
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
    /// The cache.
    #[command(flatten)]
    pub place: CacheArgs,
}

/// What of the cache to write, and where.
#[derive(Args, Clone, Debug)]
pub struct CacheExportArgs {
    /// The images, by their references or digests as `cache ls` prints them [default: all].
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    /// Where: docker-archive:FILE, oci-archive:FILE, oci-layout:DIR.
    #[arg(long, required = true, value_name = "DESTINATION", value_parser = Destination::parse)]
    pub to: Vec<Destination>,
    /// The platform to write [default: all that the cache holds].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<Platform>,
    /// The cache.
    #[command(flatten)]
    pub place: CacheArgs,
}

/// Where to offer the cache.
#[derive(Args, Clone, Debug)]
pub struct CacheServeArgs {
    /// The loopback address; port 0 takes one that is free.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// The cache.
    #[command(flatten)]
    pub place: CacheArgs,
}

/// How to look at the cache.
#[derive(Args, Clone, Debug)]
pub struct CacheVerifyArgs {
    /// Leave damaged blobs where they are.
    #[arg(long)]
    pub keep: bool,
    /// The cache.
    #[command(flatten)]
    pub place: CacheArgs,
}

/// Reads a number of bytes with a unit, decimal or binary.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("B", 1),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let known = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let (Ok(number), Some((_, bytes))) = (number.parse::<u64>(), known) else {
        return Err("a size is a whole number and a unit, for instance 500MB or 20GiB".into());
    };
    number
        .checked_mul(*bytes)
        .ok_or_else(|| "it is larger than any disk".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("0B"), Ok(0));
        assert_eq!(size("5 kB"), Ok(5_000));
        assert_eq!(size("20GiB"), Ok(20 << 30));
        assert_eq!(size("3mib"), Ok(3 << 20));
        for text in ["", "5", "GiB", "-1B", "1.5GB", "99999999TB", "1 apple"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bare_pipeline_is_a_run() {
        let cli =
            Cli::try_parse_from(["shipgate", "pipeline.yml", "--quiet", "-i", "tag=v1"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.run.pipeline, Some("pipeline.yml".into()));
        assert_eq!(cli.run.inputs, ["tag=v1"]);
        assert!(cli.talk.quiet);
    }

    #[test]
    fn talk_flags_are_the_same_behind_a_command() {
        let cli = Cli::try_parse_from(["shipgate", "plan", "p.yml", "--format", "json"]).unwrap();
        assert_eq!(cli.talk.format, Format::Json);
        assert!(matches!(cli.command, Some(Command::Plan(_))));
    }
}
