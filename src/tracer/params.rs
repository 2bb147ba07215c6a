// SPDX-License-Identifier: MPL-2.0
//! What stands in the parentheses of `GST_TRACERS="dronetee-metrics(…)"`.

use std::path::PathBuf;

use crate::metrics::DEFAULT_ADDRESS;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Params {
    /// `None`: nothing is served.
    pub(super) listen: Option<String>,
    pub(super) log: Option<PathBuf>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            listen: Some(DEFAULT_ADDRESS.into()),
            log: None,
        }
    }
}

impl Params {
    /// `listen=ADDRESS,log=FILE`, as a `GstStructure` is written.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, String> {
        let mut params = Self::default();
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
            return Ok(params);
        };
        let structure: gst::Structure = format!("params,{text}").parse().map_err(|_| {
            format!(
                "'{text}' is not listen=HOST:PORT,log=FILE; a value with other characters than letters, \
                 digits and /.:_+- stands in \"\""
            )
        })?;
        for (name, value) in structure.iter() {
            // A port alone is a number.
            let value = value.transform::<String>().ok();
            let value: String = value.and_then(|text| text.get().ok()).unwrap_or_default();
            match name.as_str() {
                "listen" => params.listen = (value != "none").then_some(value),
                "log" => params.log = Some(value.into()),
                _ => return Err(format!("'{name}' is neither listen nor log")),
            }
        }
        Ok(params)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read() {
        gst::init().unwrap();
        let own = |listen: Option<&str>, log: Option<&str>| Params {
            listen: listen.map(Into::into),
            log: log.map(Into::into),
        };
        for (text, expected) in [
            (None, Params::default()),
            (Some(" "), Params::default()),
            (Some("listen=127.0.0.1:0"), own(Some("127.0.0.1:0"), None)),
            (Some("listen=9000"), own(Some("9000"), None)),
            (
                Some("listen=\"[::1]:0\", log=/a/b-c_d.log"),
                own(Some("[::1]:0"), Some("/a/b-c_d.log")),
            ),
            (
                Some("log=\"/a b/ü.log\",listen=none"),
                own(None, Some("/a b/ü.log")),
            ),
        ] {
            assert_eq!(Params::parse(text), Ok(expected), "{text:?}");
        }
        for bad in ["listen", "listen=[::1]:0", "port=1", "=", "log=/a b"] {
            assert!(Params::parse(Some(bad)).is_err(), "{bad}");
        }
    }
}
