// SPDX-License-Identifier: MPL-2.0
//! What the program is told to do.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use zenoh::key_expr::KeyExpr;

/// The key of the accounts, which a consumer can not have.
pub(crate) const HEALTH: &str = "health";

/// Publishes a camera's coded video, and how it does, over zenoh.
///
/// Each picture is a foxglove.CompressedVideo (CDR; Annex B, one access unit a message, the parameter sets with
/// each keyframe) on PREFIX/CONSUMER; health is JSON on PREFIX/health, once a second and to who asks. A picture
/// that the link can not carry in time is dropped on board, and counted.
#[derive(Debug, Clone, Parser)]
#[command(name = "dronetee-zenoh", version)]
pub(crate) struct Options {
    /// Launch line of the camera, up to its coded video, for example
    /// "rtspsrc location=rtsp://… latency=0 ! rtph264depay ! h264parse"
    #[arg(long)]
    pub(crate) line: String,

    /// Where to: a router or a peer, for example tcp/192.0.2.1:7447; the first that answers
    #[arg(long, value_name = "ENDPOINT", required = true)]
    pub(crate) connect: Vec<String>,

    /// zenoh's own configuration (JSON5), for certificates and the like
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<std::path::PathBuf>,

    /// What all keys begin with
    #[arg(long, value_name = "KEY", default_value = "drone", value_parser = prefix)]
    pub(crate) prefix: String,

    /// Name of the consumer that the ground is
    #[arg(long, value_name = "NAME", default_value = "ground", value_parser = consumer)]
    pub(crate) consumer: String,

    /// Another consumer, on board: "recorder=h264parse ! matroskamux ! filesink location=flight.mkv"
    #[arg(long, value_name = "NAME=LINE", value_parser = branch)]
    pub(crate) branch: Vec<Branch>,

    /// What the camera sends
    #[arg(long, value_enum, default_value_t = Codec::H264)]
    pub(crate) codec: Codec,

    /// Name of the camera in each message
    #[arg(long, value_name = "NAME", default_value = "camera")]
    pub(crate) frame_id: String,

    /// How old a picture may get on its way from here, in ms (at least 100)
    #[arg(long = "max-age-ms", value_name = "N", default_value = "1000", value_parser = age)]
    pub(crate) max_age: Duration,
}

/// A consumer on board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Branch {
    pub(crate) name: String,
    pub(crate) line: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Codec {
    H264,
    H265,
}

impl Codec {
    /// As `foxglove.CompressedVideo` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::H265 => "h265",
        }
    }
}

fn prefix(text: &str) -> Result<String, String> {
    let key = KeyExpr::try_from(text).map_err(|error| error.to_string())?;
    if key.is_wild() || text.contains('@') {
        return Err("a key without wildcards and without @ is needed".into());
    }
    Ok(text.to_owned())
}

fn consumer(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if text.is_empty() || !text.chars().all(allowed) {
        return Err("letters, digits, '_' and '-' only".into());
    }
    if text == HEALTH {
        return Err(format!("'{HEALTH}' is the key of the accounts"));
    }
    Ok(text.to_owned())
}

fn branch(text: &str) -> Result<Branch, String> {
    let (name, line) = text
        .split_once('=')
        .ok_or("a name, '=' and a launch line are needed")?;
    if line.trim().is_empty() {
        return Err("there is no launch line after '='".into());
    }
    Ok(Branch {
        name: consumer(name).map_err(|error| format!("'{name}': {error}"))?,
        line: line.to_owned(),
    })
}

fn age(text: &str) -> Result<Duration, String> {
    let milliseconds: u64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(100..=60_000).contains(&milliseconds) {
        return Err("from 100 to 60000".into());
    }
    Ok(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, String> {
        let all = [
            "dronetee-zenoh",
            "--line",
            "camera",
            "--connect",
            "tcp/127.0.0.1:7447",
        ];
        Options::try_parse_from(all.iter().chain(args)).map_err(|error| error.to_string())
    }

    #[test]
    fn has_defaults() {
        let options = parse(&[]).unwrap();
        assert_eq!(options.prefix, "drone");
        assert_eq!(options.consumer, "ground");
        assert_eq!(options.max_age, Duration::from_secs(1));
    }

    #[test]
    fn a_branch_is_a_name_and_a_line() {
        let options = parse(&["--branch", "record=filesink location=a"]).unwrap();
        let branch = Branch {
            name: "record".into(),
            line: "filesink location=a".into(),
        };
        assert_eq!(options.branch, [branch]);
    }

    #[test]
    fn says_what_is_wrong() {
        for (args, said) in [
            (["--prefix", "fleet/*"], "without wildcards"),
            (["--prefix", "fleet//1"], "//"),
            (["--prefix", "@/fleet"], "without @"),
            (["--consumer", "health"], "the key of the accounts"),
            (["--consumer", "a/b"], "letters, digits"),
            (["--branch", "filesink"], "a name, '='"),
            (["--branch", "a b=filesink"], "'a b': letters"),
            (["--branch", "record="], "no launch line"),
            (["--codec", "vp8"], "h264, h265"),
            (["--max-age-ms", "soon"], "not a number"),
            (["--max-age-ms", "5"], "from 100"),
            (["--conect", "tcp/127.0.0.1:1"], "--connect"),
        ] {
            let error = parse(&args).unwrap_err();
            assert!(error.contains(said), "{args:?}: {error}");
        }
        let error = Options::try_parse_from(["dronetee-zenoh"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("--line") && error.contains("--connect"),
            "{error}"
        );
    }
}
