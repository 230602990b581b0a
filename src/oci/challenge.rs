//! `WWW-Authenticate` as RFC 9110 section 11 writes it.
//!
//! One header may carry several challenges, one challenge several parameters, and both are
//! separated by commas; a token is a scheme or a parameter depending on what comes after it.

use std::fmt;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// One challenge: a scheme, and either a token68 or parameters.
#[derive(Clone, Eq, PartialEq)]
pub struct Challenge {
    /// The scheme in lower case, for instance `bearer`.
    pub scheme: String,
    /// The token68, as `Negotiate` has it.
    pub token68: Option<String>,
    /// Names in lower case and values without quotes and escapes, in the order of the header.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Parses one header value.
    ///
    /// Values that should be quoted and are not (`scope=repository:a/b:pull`) are taken, since
    /// registries send them.
    ///
    /// # Errors
    ///
    /// The value breaks the grammar, or is longer than 16 KiB.
    pub fn parse(value: &str) -> Result<Vec<Self>, ChallengeError> {
        let mut parser = Parser { text: value, at: 0 };
        if value.len() > LONGEST {
            return Err(parser.fault("it is longer than 16 KiB"));
        }
        let mut challenges: Vec<Self> = Vec::new();
        loop {
            parser.skip(|byte| byte == b',' || is_blank(byte));
            if parser.rest().is_empty() {
                return Ok(challenges);
            }
            let word = parser.token()?;
            if let Some(value) = parser.value()? {
                let Some(challenge) = challenges.last_mut() else {
                    return Err(parser.fault("a parameter stands before any scheme"));
                };
                if challenge.token68.is_some() {
                    return Err(parser.fault("a parameter follows a token"));
                }
                let name = word.to_ascii_lowercase();
                if challenge.parameter(&name).is_some() {
                    return Err(parser.fault("a parameter is given twice"));
                }
                challenge.parameters.push((name, value));
            } else {
                let scheme = word.to_ascii_lowercase();
                let spaces = parser.skip(is_blank);
                let token68 = if spaces > 0 { parser.token68() } else { None };
                challenges.push(Self {
                    scheme,
                    token68: token68.map(str::to_owned),
                    parameters: Vec::new(),
                });
                if spaces > 0 && challenges.last().is_some_and(|c| c.token68.is_none()) {
                    // The first parameter follows the scheme without a comma.
                    continue;
                }
            }
            parser.skip(is_blank);
            if !matches!(parser.rest().first(), None | Some(b',')) {
                return Err(parser.fault("expected `,`"));
            }
        }
    }

    /// Parses all `WWW-Authenticate` headers; a malformed one is an error only if no other is good.
    ///
    /// # Errors
    ///
    /// No header could be parsed. No header at all gives no challenges and no error.
    pub fn of(headers: &HeaderMap) -> Result<Vec<Self>, ChallengeError> {
        let mut challenges = Vec::new();
        let mut fault = None;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let parsed = match value.to_str() {
                Ok(text) => Self::parse(text),
                Err(_) => Err(ChallengeError {
                    at: 0,
                    reason: "it is not ASCII",
                }),
            };
            match parsed {
                Ok(parsed) => challenges.extend(parsed),
                Err(error) => fault = Some(error),
            }
        }
        match fault {
            Some(error) if challenges.is_empty() => Err(error),
            _ => Ok(challenges),
        }
    }

    /// Returns a parameter's value by its name in lower case.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scheme)?;
        if let Some(token) = &self.token68 {
            write!(f, " {token}")?;
        }
        for (index, (name, value)) in self.parameters.iter().enumerate() {
            let separator = if index == 0 { " " } else { "," };
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            write!(f, "{separator}{name}=\"{escaped}\"")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A header value that is not a list of challenges.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("WWW-Authenticate is malformed at byte {at}: {reason}")]
pub struct ChallengeError {
    /// Where, in bytes from 0.
    pub at: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

const LONGEST: usize = 16 * 1024;

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn fault(&self, reason: &'static str) -> ChallengeError {
        ChallengeError {
            at: self.at,
            reason,
        }
    }

    fn skip(&mut self, mut matches: impl FnMut(u8) -> bool) -> usize {
        let count = self
            .rest()
            .iter()
            .take_while(|byte| matches(**byte))
            .count();
        self.at += count;
        count
    }

    fn token(&mut self) -> Result<&'a str, ChallengeError> {
        let from = self.at;
        if self.skip(is_token) == 0 {
            return Err(self.fault("expected a scheme or a parameter"));
        }
        Ok(&self.text[from..self.at])
    }

    /// Reads `= value` with blanks around the sign, or nothing.
    fn value(&mut self) -> Result<Option<String>, ChallengeError> {
        let from = self.at;
        self.skip(is_blank);
        if self.rest().first() != Some(&b'=') {
            self.at = from;
            return Ok(None);
        }
        self.at += 1;
        self.skip(is_blank);
        if self.rest().first() == Some(&b'"') {
            self.at += 1;
            return self.quoted().map(Some);
        }
        let from = self.at;
        if self.skip(|byte| byte.is_ascii_graphic() && byte != b',' && byte != b'"') == 0 {
            return Err(self.fault("expected a value"));
        }
        Ok(Some(self.text[from..self.at].to_owned()))
    }

    fn quoted(&mut self) -> Result<String, ChallengeError> {
        let mut value = String::new();
        let mut chars = self.text[self.at..].char_indices();
        while let Some((offset, char)) = chars.next() {
            match char {
                '"' => {
                    self.at += offset + 1;
                    return Ok(value);
                }
                '\\' => match chars.next() {
                    Some((_, escaped)) => value.push(escaped),
                    None => break,
                },
                other => value.push(other),
            }
        }
        Err(self.fault("the quoted string has no end"))
    }

    /// Reads a token68 if one stands here: nothing but a comma or the end may follow it.
    fn token68(&mut self) -> Option<&'a str> {
        let from = self.at;
        let body = self.skip(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
        self.skip(|byte| byte == b'=');
        let to = self.at;
        self.skip(is_blank);
        let ends = matches!(self.rest().first(), None | Some(b','));
        if body > 0 && ends {
            self.at = to;
            Some(&self.text[from..to])
        } else {
            self.at = from;
            None
        }
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(value: &str) -> Challenge {
        let mut all = Challenge::parse(value).unwrap();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    #[test]
    fn what_registries_send() {
        let challenge = one(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull,push""#,
        );
        assert_eq!(challenge.scheme, "bearer");
        assert_eq!(
            challenge.parameter("scope"),
            Some("repository:library/nginx:pull,push")
        );
        assert_eq!(one("Basic realm=\"x\"").parameter("realm"), Some("x"));
        assert_eq!(
            one("bearer Realm = https://a.example/token , scope=repository:a/b:pull")
                .parameters
                .len(),
            2
        );
    }

    #[test]
    fn several_in_one_header_and_in_several() {
        let all = Challenge::parse(
            r#"Newauth realm="apps", type=1, title="Login to \"apps\"", Basic realm="simple", Negotiate, , NTLM abc=="#,
        )
        .unwrap();
        let schemes: Vec<_> = all.iter().map(|c| c.scheme.as_str()).collect();
        assert_eq!(schemes, ["newauth", "basic", "negotiate", "ntlm"]);
        assert_eq!(all[0].parameter("title"), Some("Login to \"apps\""));
        assert_eq!(all[3].token68.as_deref(), Some("abc=="));

        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "Basic realm=\"a".parse().unwrap());
        assert!(Challenge::of(&headers).is_err());
        headers.append(WWW_AUTHENTICATE, "Bearer realm=\"b\"".parse().unwrap());
        assert_eq!(Challenge::of(&headers).unwrap().len(), 1);
        assert_eq!(Challenge::of(&HeaderMap::new()).unwrap(), []);
    }

    #[test]
    fn refusals_say_where() {
        for (value, at) in [
            ("realm=\"x\"", 9),
            ("Basic a=\"1\", realm=", 19),
            ("Basic realm=\"x", 13),
            ("Basic realm=\"x\" y=\"z\"", 16),
            ("Basic a=\"1\", a=\"2\"", 18),
            ("\"", 0),
        ] {
            let error = Challenge::parse(value).unwrap_err();
            assert_eq!(error.at, at, "{value}: {error}");
        }
    }

    fn challenge() -> impl Strategy<Value = Challenge> {
        let name = "[a-z][a-z0-9_-]{0,8}";
        let parameters = proptest::collection::btree_map(name, "[ -~]{0,20}", 0..4)
            .prop_map(|map| map.into_iter().collect());
        let token = "[A-Za-z0-9._~+/-]{1,20}={0,2}";
        prop_oneof![
            ("[a-z][a-z0-9]{0,8}", parameters).prop_map(|(scheme, parameters)| Challenge {
                scheme,
                token68: None,
                parameters,
            }),
            ("[a-z][a-z0-9]{0,8}", token).prop_map(|(scheme, token)| Challenge {
                scheme,
                token68: Some(token),
                parameters: Vec::new(),
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(challenges in proptest::collection::vec(challenge(), 0..4)) {
            let text = challenges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(Challenge::parse(&text).unwrap(), challenges);
        }

        #[test]
        fn any_string_is_taken_or_refused(text in "\\PC{0,60}|[a-z=\", \\\\]{0,30}") {
            if let Err(error) = Challenge::parse(&text) {
                prop_assert!(error.at <= text.len());
            }
        }
    }
}
