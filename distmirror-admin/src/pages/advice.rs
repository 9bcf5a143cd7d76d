//! What a person can do about a fetch that failed, told from what the fetcher said.

/// What to do, in a sentence or two.
pub(super) fn on(error: &str) -> &'static str {
    let known = ADVICE.iter().find(|(part, _)| error.contains(part));
    known.map_or("Once the cause is mended, try again.", |(_, advice)| advice)
}

/// What an error contains, and what to do then; the first that matches counts.
const ADVICE: [(&str, &str); 17] = [
    (
        "checksum mismatch",
        "Either the declared checksum is wrong, or upstream has other bytes now. Compare it with what the publisher names; \
         nothing of what came is served.",
    ),
    (
        "the image has no platform",
        "What is wanted of an image stays wanted, also what it does not have. Only an image that has it helps, under another digest.",
    ),
    (
        "fetch.referrers",
        "If signatures and attestations are not needed, the operator leaves them out with `fetch.referrers = false`.",
    ),
    (
        "cannot sign in",
        "The registry wants to know who asks: the operator says it in `fetch.credentials`. A registry also asks for a sign-in \
         where it has no such image.",
    ),
    (
        "which is not public",
        "Addresses inside the own network are asked only where the operator allows it, in `fetch.allow_addresses`.",
    ),
    (
        "where this mirror itself listens",
        "The URL leads back to this mirror: declare the one that leads to the publisher.",
    ),
    (
        "cannot resolve",
        "Look for a typing error in the host name. If it is right, the mirror cannot look it up: ask the operator.",
    ),
    (
        "no secure connection",
        "If upstream's certificate comes from an own CA, the operator adds that to `fetch.trusted_roots`.",
    ),
    ("cannot connect", "Upstream is down, or something between keeps the mirror from it."),
    (
        "answered 404",
        "Upstream has nothing at this URL. Look for a typing error, and declare the right URL; this one harms nobody.",
    ),
    ("answered 410", "Upstream has removed it. Declare a URL where it still is."),
    (
        "answered 401",
        "Upstream asks for a sign-in, which the mirror does not have. For images the operator adds it to `fetch.credentials`.",
    ),
    ("answered 403", "Upstream refuses the mirror. Look whether the URL opens without a sign-in."),
    ("answered 429", "Upstream wants to be asked less often. It is worth waiting."),
    ("answered 5", "Upstream has trouble of its own, which mostly passes."),
    ("too large", "If it shall be kept nevertheless, the operator raises `fetch.max_file_bytes`."),
    ("larger than the limit", "If it shall be kept nevertheless, the operator raises `fetch.max_file_bytes`."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_fits_the_error() {
        for (error, part) in [
            ("`https://h/x` answered 404 Not Found", "declare the right URL"),
            ("`https://h/x` answered 503 Service Unavailable", "passes"),
            ("cannot fetch `https://h/x`: cannot resolve `h`: no such name", "typing error"),
            ("address not allowed: h resolves to 10.0.0.1, which is not public; see fetch.allow_addresses", "operator"),
            ("truncated: 3 of 10 bytes: connection reset", "try again"),
        ] {
            assert!(on(error).contains(part), "{error}: {}", on(error));
        }
    }
}
