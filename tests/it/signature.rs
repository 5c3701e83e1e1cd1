//! The relay's check of webhook signatures against Twilio's own library: fixed vectors, and random requests that the
//! library signs while the test runs.

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use relay_http::channels::twilio::signature::verify;
use system_tests::peers::{SigningCase, signatures_by_twilio};
use system_tests::twilio::{signature, vectors};

const CASES: usize = 300;
const SEED: u64 = 20_261_122;

#[test]
fn every_vector_by_twilios_library_is_judged_right() {
    for vector in vectors() {
        let judged = verify(&[&vector.auth_token], &vector.url, &vector.form_params, Some(&vector.signature));
        assert_eq!(judged, vector.valid, "{}", vector.name);
        let decoded: Vec<_> = form_urlencoded::parse(vector.raw_body.as_bytes()).into_owned().collect();
        let judged = verify(&[&vector.auth_token], &vector.url, &decoded, Some(&vector.signature));
        assert_eq!(judged, vector.valid, "{} from its raw body", vector.name);
    }
}

#[tokio::test]
async fn what_twilios_library_signs_verifies_and_any_change_to_it_does_not() {
    let mut rng = StdRng::seed_from_u64(SEED);
    let requests: Vec<Request> = (0..CASES).map(|_| Request::random(&mut rng)).collect();
    let signed = signatures_by_twilio(&requests.iter().map(Request::case).collect::<Vec<_>>()).await;
    for (request, signed) in requests.iter().zip(&signed) {
        assert!(request.verifies(signed), "{request:?}");
        let borrowed: Vec<_> = request.params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(&signature(&request.token, &request.url(), &borrowed), signed, "this crate's own signature");
        for (change, changed) in request.changes(&mut rng) {
            assert!(!changed.verifies(signed), "{change}: {request:?} became {changed:?}");
        }
    }
}

/// A webhook in parts, so that a test can change one of them.
#[derive(Clone, Debug)]
struct Request {
    token: String,
    scheme: &'static str,
    host: String,
    port: &'static str,
    path: String,
    query: &'static str,
    params: Vec<(String, String)>,
}

impl Request {
    fn random(rng: &mut StdRng) -> Self {
        Self {
            token: hex(rng, 32),
            scheme: pick(rng, &["https", "http"]),
            host: pick(rng, &["relay.example.com", "Relay.Example.COM", "127.0.0.1", "xn--bcher-kva.example"])
                .to_owned(),
            port: pick(rng, &["", "", ":443", ":80", ":8443"]),
            path: pick(rng, &["/webhook", "/webhook/", "/", "/a%20b/%C3%A9", "/a+b"]).to_owned(),
            query: pick(rng, &["", "", "?tenant=acme&v=2", "?", "?q=a+b%2Bc&empty=&%F0%9F%8E%89"]),
            params: params(rng),
        }
    }

    fn url(&self) -> String {
        format!("{}://{}{}{}{}", self.scheme, self.host, self.port, self.path, self.query)
    }

    fn case(&self) -> SigningCase {
        SigningCase { token: self.token.clone(), url: self.url(), params: self.params.clone() }
    }

    fn verifies(&self, signature: &str) -> bool {
        verify(&[&self.token], &self.url(), &self.params, Some(signature))
    }

    /// This request with one thing changed, once for each kind of change.
    fn changes(&self, rng: &mut StdRng) -> Vec<(&'static str, Self)> {
        let at = rng.random_range(0..self.params.len());
        let change = |apply: &dyn Fn(&mut Self)| {
            let mut changed = self.clone();
            apply(&mut changed);
            changed
        };
        // A pair that comes twice is signed once, so only dropping every copy is a change.
        let dropped = |request: &mut Self| request.params.retain(|pair| *pair != self.params[at]);
        vec![
            ("another value", change(&|request| request.params[at].1.push('x'))),
            ("a parameter dropped", change(&dropped)),
            ("a parameter added", change(&|request| request.params.push(("NotSigned".to_owned(), String::new())))),
            ("another case of a name", change(&|request| swap_case(&mut request.params[at].0))),
            ("another path", change(&|request| request.path.push_str("other"))),
            ("another host", change(&|request| request.host.insert_str(0, "not-"))),
            ("another query", change(&|request| request.query = "?other")),
            (
                "another scheme",
                change(&|request| request.scheme = if request.scheme == "http" { "https" } else { "http" }),
            ),
            ("another token", change(&|request| request.token.push('0'))),
        ]
    }
}

/// Parameters as WhatsApp messages have them, with some that nobody has seen yet, in any order.
fn params(rng: &mut StdRng) -> Vec<(String, String)> {
    let sid = hex(rng, 32);
    let mut params: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: String| params.push((name.to_owned(), value));
    for name in ["MessageSid", "SmsSid", "SmsMessageSid"] {
        add(name, format!("SM{sid}"));
    }
    add("From", format!("whatsapp:+1555{:07}", rng.random_range(0..10_000_000)));
    add("To", "whatsapp:+14155238886".to_owned());
    add("Body", text(rng));
    add("ProfileName", text(rng));
    add("ChannelMetadata", format!("{{\"data\":{{\"name\":\"{}\"}}}}", text(rng)));
    let media = rng.random_range(0..=3);
    add("NumMedia", media.to_string());
    for index in 0..media {
        let types = ["image/jpeg", "audio/ogg; codecs=opus", ""];
        add(&format!("MediaUrl{index}"), format!("https://api.example.com/Media/ME{}?x=%2B", hex(rng, 8)));
        add(&format!("MediaContentType{index}"), pick(rng, &types).to_owned());
    }
    if rng.random_bool(0.3) {
        add("ButtonText", "Approve".to_owned());
        add("ButtonPayload", format!("approve:{}", text(rng)));
    }
    for _ in 0..rng.random_range(0..4) {
        add(
            pick(rng, &["Unknown", "unknown", "UnknownParameter", "Bo", "Body2", "_x", "Ünknown", "a.b[0]"]),
            text(rng),
        );
    }
    for _ in 0..rng.random_range(0..3) {
        let value = if rng.random_bool(0.5) { "the same".to_owned() } else { text(rng) };
        add("Repeated", value);
    }
    params.shuffle(rng);
    params
}

/// Text with whatever is easily mangled on the way; sometimes empty.
fn text(rng: &mut StdRng) -> String {
    const PIECES: [&str; 20] = [
        "fix",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "+",
        "%",
        "%41",
        "%2B",
        "&",
        "=",
        "#",
        "\"",
        "é",
        "e\u{301}",
        "🎉",
        "👩‍💻",
        "修复",
        "\0",
    ];
    (0..rng.random_range(0..12)).map(|_| pick(rng, &PIECES)).collect()
}

fn pick(rng: &mut StdRng, from: &[&'static str]) -> &'static str {
    from.choose(rng).expect("there is something to pick from")
}

fn hex(rng: &mut StdRng, digits: usize) -> String {
    (0..digits).map(|_| char::from_digit(rng.random_range(0..16), 16).expect("below 16")).collect()
}

fn swap_case(name: &mut String) {
    let swap = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    *name = name.chars().map(swap).collect();
}
