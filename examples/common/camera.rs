// SPDX-License-Identifier: MPL-2.0
//! A camera's URL without its password, and what is wrong when no video comes from there.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use gst::prelude::*;

/// RTSP's port.
const DEFAULT_PORT: u16 = 554;
/// A connection is tried anew to learn why there was none.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) const NO_VIDEO: &str = "no video came: is there a camera, and does it send video?";

/// Where the camera is. Nothing here prints the password: it is no part of `location`, which
/// GStreamer shows in its log and its messages.
pub(crate) struct Camera {
    location: String,
    login: Option<(String, String)>,
    host: String,
    port: u16,
    secrets: Vec<String>,
}

impl Camera {
    /// An error has no password in it either.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| format!("'{}' does not begin with rtsp://", harmless(url)))?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };
        let unreadable = || {
            format!(
                "'{}' is no address of a camera: it is rtsp://user:password@host:port/path, with / \
                 in a password as %2F",
                harmless(url)
            )
        };
        let (host, port) = split_port(address).ok_or_else(unreadable)?;
        if host.is_empty() {
            return Err(unreadable());
        }
        let mut secrets = secrets_in(path);
        let login = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            secrets.push(password.to_owned());
            (unescaped(user), unescaped(password))
        });
        secrets.extend(login.iter().map(|(_, password)| password.clone()));
        // A shorter one would be found in every second word, and so be told by what is missing.
        secrets.retain(|secret| secret.len() > 3);
        Ok(Self {
            location: format!("{scheme}://{address}{path}"),
            login,
            host: host.to_owned(),
            port,
            secrets,
        })
    }

    fn masked(&self, text: &str) -> String {
        let mut masked = text.to_owned();
        for secret in &self.secrets {
            masked = masked.replace(secret.as_str(), "***");
        }
        masked
    }

    /// The URL for people.
    pub(crate) fn shown(&self) -> String {
        harmless(&self.location)
    }

    pub(crate) fn set_up(&self, source: &gst::Element) {
        source.set_property("location", &self.location);
        if let Some((user, password)) = &self.login {
            source.set_property("user-id", user);
            source.set_property("user-pw", password);
        }
    }

    /// What the user can act on, with GStreamer's own words behind it.
    pub(crate) fn explain(&self, error: &gst::message::Error, no_video_yet: bool) -> String {
        let detail = self.masked(&detail(error));
        let kind = error.error();
        let (host, at) = if self.location.contains('@') {
            // What stands where the host should may be the beginning of a password with a slash.
            ("…".to_owned(), "the address".to_owned())
        } else {
            (self.host.clone(), format!("{}:{}", self.host, self.port))
        };
        let what = if kind.matches(gst::ResourceError::NotAuthorized) {
            match self.login {
                Some(_) => "the camera refuses this user name or password".to_owned(),
                None => "the camera asks for a user name and a password".to_owned(),
            }
        } else if kind.matches(gst::ResourceError::NotFound) {
            "the camera has no stream of this path".to_owned()
        } else if kind.matches(gst::ResourceError::OpenReadWrite) {
            match self.connect() {
                Ok(()) => format!("no video came: {at} does not answer as a camera does"),
                Err(Unreachable::Unknown) => format!("the host '{host}' is not known"),
                Err(Unreachable::Refused) => format!("nothing listens at {at}, it is refused"),
                Err(Unreachable::Silent(why)) => format!("{at} can not be reached: {why}"),
            }
        } else if kind.matches(gst::CoreError::MissingPlugin) || is_decoder_missing(error) {
            "a plugin of GStreamer's is missing for this video".to_owned()
        } else if no_video_yet {
            NO_VIDEO.to_owned()
        } else {
            "the video has ended".to_owned()
        };
        format!("{what} ({detail})")
    }

    fn connect(&self) -> Result<(), Unreachable> {
        let host = self.host.trim_matches(['[', ']']);
        let addresses = (host, self.port).to_socket_addrs();
        let mut outcome = Err(Unreachable::Unknown);
        for address in addresses.map_err(|_| Unreachable::Unknown)? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    outcome = Err(Unreachable::Refused);
                }
                Err(error) => outcome = Err(Unreachable::Silent(error.to_string())),
            }
        }
        outcome
    }
}

enum Unreachable {
    Unknown,
    Refused,
    Silent(String),
}

/// A URL, or what was meant as one, without anything that might be a password.
pub(crate) fn harmless(url: &str) -> String {
    let mut shown = match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, address))) => format!("{scheme}://***@{address}"),
        (None, Some((_, address))) => format!("***@{address}"),
        (_, None) => url.to_owned(),
    };
    for secret in secrets_in(&shown) {
        shown = shown.replace(&format!("={secret}"), "=***");
    }
    shown
}

/// The port of `host:port` or `[::1]:port`, else RTSP's.
fn split_port(address: &str) -> Option<(&str, u16)> {
    let after_brackets = address.rfind(']').map_or(0, |end| end + 1);
    match address[after_brackets..].rfind(':') {
        None => Some((address, DEFAULT_PORT)),
        Some(colon) => {
            let (host, port) = address.split_at(after_brackets + colon);
            Some((host, port[1..].parse().ok()?))
        }
    }
}

/// Values of `password=…` and the like, as cheap cameras have them in the path or the query.
fn secrets_in(text: &str) -> Vec<String> {
    let ends = ['&', '/', '?', '_', ';', ','];
    let mut secrets = Vec::new();
    let lower = text.to_ascii_lowercase();
    for (equals, _) in text.match_indices('=') {
        let key = lower[..equals].rsplit(ends).next().unwrap_or_default();
        let is_secret = ["pass", "pwd", "pw", "token", "key", "auth", "secret"]
            .iter()
            .any(|word| key.contains(word));
        // A password may have an underscore, after which such a camera has the next name.
        let value = text[equals + 1..]
            .split(['&', '/', '?', ';', ','])
            .next()
            .unwrap_or_default();
        if is_secret && !value.is_empty() {
            secrets.push(value.to_owned());
        }
    }
    secrets
}

/// `%2F` in a login is a slash.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .and_then(|code| std::str::from_utf8(code).ok());
        let escaped = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match escaped.filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `rtspsrc` says the same of a camera of which it was asked for no stream.
fn is_decoder_missing(error: &gst::message::Error) -> bool {
    let source = error
        .src()
        .and_then(|source| source.downcast_ref::<gst::Element>());
    let factory = source.and_then(gst::Element::factory);
    error.error().matches(gst::StreamError::CodecNotFound)
        && factory.is_none_or(|factory| factory.name() != "rtspsrc")
}

/// The message and, after the place in the source, what the element adds to it; on one line.
fn detail(error: &gst::message::Error) -> String {
    let message = error.error().message().to_owned();
    let debug = error.debug().unwrap_or_default();
    let added = debug.split_once('\n').map_or("", |(_, added)| added);
    let detail = format!("{message} {added}");
    detail.split_whitespace().collect::<Vec<_>>().join(" ")
}
