// SPDX-License-Identifier: MPL-2.0
//! Text for the outside, without the passwords of the URLs in it.

use std::borrow::Cow;

const HIDDEN: &str = "***";
/// What a URL passes secrets in, behind `?` or `&`.
const SECRETS: [&str; 7] = [
    "password",
    "passwd",
    "pass",
    "passphrase",
    "pwd",
    "token",
    "secret",
];

/// The text, with `***` in place of what stands between `://` and the last `@` of a URL, and of values
/// such as `?passphrase=…`. A password with a slash in it, which no URL should have, is hidden too.
pub(crate) fn hide_passwords(text: &str) -> Cow<'_, str> {
    let mut rest = text;
    let mut harmless = String::new();
    while let Some(begin) = rest.find("://") {
        let (before, url) = rest.split_at(begin + 3);
        let end = url.find(ends_url).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        harmless.push_str(before);
        match url.rsplit_once('@') {
            Some((_, address)) => {
                harmless.push_str(HIDDEN);
                harmless.push('@');
                push_query(&mut harmless, address);
            }
            None => push_query(&mut harmless, url),
        }
        rest = after;
    }
    if harmless.is_empty() {
        return Cow::Borrowed(text);
    }
    harmless.push_str(rest);
    Cow::Owned(harmless)
}

fn ends_url(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '<' | '>' | '`')
}

fn push_query(harmless: &mut String, address: &str) {
    for part in address.split_inclusive(['?', '&']) {
        match part.split_once('=') {
            Some((name, value)) if is_secret(name) => {
                harmless.push_str(name);
                harmless.push('=');
                harmless.push_str(HIDDEN);
                if value.ends_with('&') {
                    harmless.push('&');
                }
            }
            _ => harmless.push_str(part),
        }
    }
}

fn is_secret(name: &str) -> bool {
    SECRETS
        .iter()
        .any(|secret| name.eq_ignore_ascii_case(secret))
}

#[cfg(test)]
mod tests {
    use super::hide_passwords;

    #[test]
    fn passwords_are_hidden_and_nothing_else_is() {
        for (text, expected) in [
            ("camera", "camera"),
            ("a@b rtsp://host/a b@c", "a@b rtsp://host/a b@c"),
            (
                "Not found: rtsp://u:p@h:554/a?b=c.",
                "Not found: rtsp://***@h:554/a?b=c.",
            ),
            (
                "'rtsp://u:p@h/' and 'rtsp://v:q@i/'",
                "'rtsp://***@h/' and 'rtsp://***@i/'",
            ),
            ("rtsp://u:p/a@w@h/x", "rtsp://***@h/x"),
            (
                "srt://h:1?mode=x&passphrase=geheim&y=1",
                "srt://h:1?mode=x&passphrase=***&y=1",
            ),
            ("http://h/?Token=geheim", "http://h/?Token=***"),
            ("ünd rtsp://ü:ß@h/ö", "ünd rtsp://***@h/ö"),
            ("://", "://"),
        ] {
            assert_eq!(hide_passwords(text), expected);
        }
    }
}
