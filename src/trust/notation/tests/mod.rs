//! Verdicts over a registry in memory: whole signatures of every kind, each with one thing changed.

mod maker;
mod revocation;
mod time;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::maker::{Asked, NOW, Party, time};
use super::{
    Action, Aspect, Level, Notary, Revocation, Scope, Statement, StoreKind, Strictness, TimeStamps,
    TrustStore, identities,
};
use crate::failure::Explain as _;
use crate::oci::Digest;
use crate::outcome::ExitCode;
use crate::trust::tests::{Memory, image, image_descriptor, refusal, repository};
use crate::trust::{
    Check, LogRequirement, Outcome, Policy, PublicKey, Refusal, Requirement, Rule, Signer, Verdict,
};

const JWS: &str = "application/jose+json";
const COSE: &str = "application/cose";

/// An authority with one signer, and what a registry has of them.
struct World {
    root: Party,
    leaf: Party,
    memory: Memory,
}

impl World {
    fn new() -> Self {
        let root = Party::root("root");
        let leaf = Party::leaf("release", &root, |_| {});
        let mut memory = Memory::with_api().with_image();
        memory.now = Some(time(NOW));
        Self { root, leaf, memory }
    }

    fn statement(&self) -> Statement {
        statement(&[&self.root], &["C=US, ST=WA, O=acme"])
    }

    fn attach(&mut self, media_type: &str, envelope: &[u8]) -> &mut Self {
        self.memory.refer(&manifest(media_type, envelope), envelope);
        self
    }

    /// Attaches a whole signature, changed as asked for.
    fn sign(&mut self, alter: impl FnOnce(Asked<'_>) -> Asked<'_>) -> &mut Self {
        let envelope = alter(Asked::about(target())).jws(&self.leaf, &[&self.root]);
        self.attach(JWS, &envelope)
    }

    async fn verdict(&self, statement: Statement) -> Verdict {
        verdict(&self.memory, &policy(statement)).await
    }

    async fn exit(&self, statement: Statement) -> ExitCode {
        self.verdict(statement).await.exit()
    }
}

async fn verdict(memory: &Memory, policy: &Policy) -> Verdict {
    crate::trust::verify(memory, policy, &repository(), image()).await
}

fn target() -> Value {
    let image = image_descriptor();
    json!({
        "mediaType": image.media_type,
        "digest": image.digest.to_string(),
        "size": image.size,
        "annotations": {"build": "17"},
    })
}

fn manifest(media_type: &str, envelope: &[u8]) -> Vec<u8> {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.notary.signature",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}").to_string(), "size": 2},
        "layers": [{"mediaType": media_type, "digest": Digest::of(envelope).to_string(), "size": envelope.len()}],
        "subject": image_descriptor(),
    })
    .to_string()
    .into_bytes()
}

fn store(kind: StoreKind, of: &[&Party]) -> TrustStore {
    let mut store = TrustStore::default();
    for party in of {
        store.add(kind, "root.pem", &party.pem()).unwrap();
    }
    store
}

fn statement(roots: &[&Party], names: &[&str]) -> Statement {
    let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
    Statement {
        name: "corp".into(),
        scope: Scope::Every,
        strictness: Strictness::default(),
        time_stamps: TimeStamps::Always,
        stores: BTreeMap::from([(StoreKind::Authority, store(StoreKind::Authority, roots))]),
        identities: identities(&names).unwrap(),
        metadata: BTreeMap::new(),
    }
}

fn at_level(mut statement: Statement, level: Level, overrides: &[(Aspect, Action)]) -> Statement {
    let overrides = overrides.iter().copied().collect();
    statement.strictness = Strictness::new(level, overrides).unwrap();
    statement
}

fn notation(statement: Statement) -> Signer {
    Signer::Notation {
        notary: Notary::new(statement),
    }
}

fn policy(statement: Statement) -> Policy {
    policy_of(
        vec![("corp", notation(statement))],
        Requirement::any(["corp"]).unwrap(),
    )
    .unwrap()
}

fn policy_of(
    signers: Vec<(&str, Signer)>,
    requirement: Requirement,
) -> Result<Policy, crate::trust::policy::PolicyError> {
    let signers = signers
        .into_iter()
        .map(|(name, signer)| (name.to_owned(), signer))
        .collect();
    let rule = Rule {
        pattern: "r.example/acme/*".parse().unwrap(),
        requirement,
    };
    Policy::new(signers, vec![rule])
}

/// The one check of the one candidate.
fn check(verdict: &Verdict) -> &Check {
    assert_eq!(verdict.candidates.len(), 1, "{verdict:?}");
    &verdict.candidates[0].check
}

fn told(verdict: &Verdict) -> String {
    let failure = verdict.failure().unwrap();
    let hint = failure.hint.clone().unwrap_or_default();
    let told = format!(
        "{}: {}\n  {}\n  hint: {hint}",
        verdict.exit().name(),
        failure.causes[0],
        failure.causes.get(1).cloned().unwrap_or_default()
    )
    .replace(&image().to_string(), "sha256:IMAGE");
    // Keys are new each time, and so are the manifests of what they sign.
    verdict.candidates.iter().fold(told, |told, candidate| {
        told.replace(&candidate.manifest.to_string(), "sha256:SIGNATURE")
    })
}

#[tokio::test]
async fn both_envelopes_verify_in_four_requests() {
    for media_type in [JWS, COSE] {
        let mut world = World::new();
        let asked = Asked::about(target());
        let envelope = match media_type {
            JWS => asked.jws(&world.leaf, &[&world.root]),
            _ => asked.cose(&world.leaf, &[&world.root]),
        };
        world.attach(media_type, &envelope);
        let verdict = world.verdict(world.statement()).await;
        assert!(verdict.is_verified(), "{media_type}: {verdict:?}");
        let kinds: Vec<String> = world
            .memory
            .log()
            .iter()
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect();
        assert_eq!(kinds, ["referrers", "manifest", "blob", "manifest"]);
    }
}

#[tokio::test]
async fn an_image_without_a_signature_is_unsigned() {
    let world = World::new();
    let verdict = world.verdict(world.statement()).await;
    insta::assert_snapshot!(told(&verdict));
    assert_eq!(verdict.exit(), ExitCode::Unsigned);
}

/// Whatever is changed of an envelope, it is refused, and in the same words in both forms.
#[tokio::test]
async fn whatever_is_changed_of_an_envelope_is_refused() {
    type Change = Box<dyn Fn(Asked<'static>) -> Asked<'static>>;
    let with = |name: &'static str, value: Value, critical: bool| -> Change {
        Box::new(move |asked| asked.with(name, value.clone(), critical))
    };
    let payload = |change: fn(&mut Value)| -> Change {
        Box::new(move |mut asked| {
            change(&mut asked.payload["targetArtifact"]);
            asked
        })
    };
    let changes: Vec<(&str, Change)> = vec![
        (
            "unknown critical attribute",
            with("com.acme.secret", json!("1"), true),
        ),
        (
            "verification plugin",
            with("io.cncf.notary.verificationPlugin", json!("acme"), true),
        ),
        (
            "expiry before signing",
            Box::new(|asked| asked.expiring("2026-05-31T00:00:00Z")),
        ),
        (
            "expiry not critical",
            with(
                "io.cncf.notary.expiry",
                json!("2027-01-01T00:00:00Z"),
                false,
            ),
        ),
        (
            "nothing critical",
            Box::new(|mut asked| {
                asked.critical = vec![];
                asked
            }),
        ),
        (
            "critical and not there",
            Box::new(|mut asked| {
                asked.critical.push("com.acme.missing".into());
                asked
            }),
        ),
        (
            "unknown scheme",
            with("io.cncf.notary.signingScheme", json!("notary.x510"), false),
        ),
        (
            "no signing time",
            Box::new(|mut asked| {
                asked.attributes.remove("io.cncf.notary.signingTime");
                asked
            }),
        ),
        (
            "both signing times",
            with(
                "io.cncf.notary.authenticSigningTime",
                json!("2026-06-01T12:00:00Z"),
                false,
            ),
        ),
        (
            "another kind of payload",
            Box::new(|mut asked| {
                asked.content_type = "application/json".into();
                asked
            }),
        ),
        ("another size", payload(|target| target["size"] = json!(5))),
        (
            "another type",
            payload(|target| target["mediaType"] = json!("application/x")),
        ),
        (
            "another digest",
            payload(|target| target["digest"] = json!(format!("sha256:{}", "0".repeat(64)))),
        ),
        (
            "no digest at all",
            payload(|target| target["digest"] = json!("../../etc")),
        ),
        ("no size", payload(|target| target["size"] = Value::Null)),
    ];
    let mut lines = Vec::new();
    for (name, change) in &changes {
        let mut words = Vec::new();
        for media_type in [JWS, COSE] {
            let mut world = World::new();
            let asked = change(Asked::about(target()));
            let envelope = match media_type {
                JWS => asked.jws(&world.leaf, &[&world.root]),
                _ => asked.cose(&world.leaf, &[&world.root]),
            };
            world.attach(media_type, &envelope);
            // At the most lenient level that looks at anything, too.
            let audit = at_level(world.statement(), Level::Audit, &[]);
            assert_eq!(world.exit(audit).await, ExitCode::BadSignature, "{name}");
            let verdict = world.verdict(world.statement()).await;
            assert_eq!(verdict.exit(), ExitCode::BadSignature, "{name}");
            words.push(
                check(&verdict)
                    .found()
                    .replace(&image().to_string(), "sha256:IMAGE"),
            );
        }
        assert_eq!(words[0], words[1], "{name}");
        lines.push(format!("{name}: {}", words[0]));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

/// Flips bits all over an envelope: none of them may verify, but those of what is not signed.
#[tokio::test]
async fn no_flipped_bit_verifies() {
    let world = World::new();
    let asked = Asked::about(target());
    for (media_type, envelope) in [
        (JWS, asked.jws(&world.leaf, &[&world.root])),
        (COSE, asked.cose(&world.leaf, &[&world.root])),
    ] {
        let original = super::envelope::Envelope::read(media_type, &envelope).unwrap();
        for index in (0..envelope.len()).step_by(7) {
            let mut flipped = envelope.clone();
            flipped[index] ^= 1 << (index % 7);
            let Ok(read) = super::envelope::Envelope::read(media_type, &flipped) else {
                continue;
            };
            // The agent, names of unsigned attributes, and padding are nobody's signature.
            assert_eq!(read.target, original.target, "{media_type} {index}");
            assert_eq!(read.chain[0].der, original.chain[0].der);
            assert_eq!(read.signed_at, original.signed_at);
        }
    }
}

#[tokio::test]
async fn forms_that_two_readers_could_see_differently_are_refused() {
    let world = World::new();
    let whole = Asked::about(target()).jws(&world.leaf, &[&world.root]);
    let text = String::from_utf8(whole.clone()).unwrap();
    let read = |bytes: &[u8]| super::envelope::Envelope::read(JWS, bytes);
    assert!(read(&whole).is_ok());
    let other = text.replacen("{\"payload\"", "{\"payload\":\"e30\",\"payload\"", 1);
    assert!(read(other.as_bytes()).is_err(), "a member twice");
    let general = text.replacen("{\"payload\"", "{\"signatures\":[],\"payload\"", 1);
    assert!(read(general.as_bytes()).is_err(), "the general form");
    let padded = text.replacen("\"signature\":\"", "\"signature\":\"AA==", 1);
    assert!(read(padded.as_bytes()).is_err(), "padding");
    let cose = Asked::about(target()).cose(&world.leaf, &[&world.root]);
    let read = |bytes: &[u8]| super::envelope::Envelope::read(COSE, bytes);
    assert!(read(&cose).is_ok());
    assert!(read(&cose[1..]).is_err(), "without its tag");
    assert!(
        read(&[&cose[..], &[0]].concat()).is_err(),
        "bytes behind it"
    );
    assert!(super::envelope::Envelope::read("application/json", &whole).is_err());
}

#[tokio::test]
async fn chains_break_on_every_rule() {
    use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
    let root = Party::root("root");
    let other = Party::root("other");
    let middle = Party::authority("middle", Some(&root), |_| {});
    let narrow = Party::authority("narrow", Some(&root), |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let below = Party::authority("below", Some(&narrow), |_| {});
    let none = Party::new("none", Some(&root), |params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    let unsigning = Party::authority("unsigning", Some(&root), |params| {
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
    });
    let leaf = |by: &Party| Party::leaf("leaf", by, |_| {});
    let usage = |usages: Vec<KeyUsagePurpose>| {
        Party::leaf("leaf", &root, |params| params.key_usages = usages)
    };
    let purpose = |purpose: ExtendedKeyUsagePurpose| {
        Party::leaf("leaf", &root, |params| {
            params.extended_key_usages = vec![purpose];
        })
    };
    let bare = Party::leaf("bare", &root, |params| params.extended_key_usages.clear());
    let alone = Party::new("alone", None, |params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    let good: Vec<(Party, Vec<&Party>)> = vec![
        (leaf(&root), vec![&root]),
        (leaf(&middle), vec![&middle, &root]),
        (leaf(&narrow), vec![&narrow, &root]),
        (bare, vec![&root]),
        (alone, vec![]),
    ];
    for (leaf, chain) in &good {
        let envelope = Asked::about(target()).jws(leaf, chain);
        super::envelope::Envelope::read(JWS, &envelope).unwrap();
    }
    use KeyUsagePurpose::{DigitalSignature, KeyCertSign, KeyEncipherment};
    let bad: Vec<(&str, Party, Vec<&Party>)> = vec![
        ("no root", leaf(&root), vec![]),
        ("no root behind", leaf(&middle), vec![&middle]),
        ("another root", leaf(&root), vec![&other]),
        ("wrong order", leaf(&middle), vec![&root, &middle]),
        ("root twice", leaf(&root), vec![&root, &root]),
        ("too deep", leaf(&below), vec![&below, &narrow, &root]),
        ("issued by a signer", leaf(&none), vec![&none, &root]),
        (
            "issued without leave",
            leaf(&unsigning),
            vec![&unsigning, &root],
        ),
        (
            "an authority signs",
            Party::authority("ca", Some(&root), |params| {
                params.key_usages = vec![DigitalSignature];
            }),
            vec![&root],
        ),
        ("no key usage", usage(vec![]), vec![&root]),
        ("other key usage", usage(vec![KeyEncipherment]), vec![&root]),
        (
            "more key usages",
            usage(vec![DigitalSignature, KeyCertSign]),
            vec![&root],
        ),
        (
            "for servers",
            purpose(ExtendedKeyUsagePurpose::ServerAuth),
            vec![&root],
        ),
        (
            "for time stamps",
            purpose(ExtendedKeyUsagePurpose::TimeStamping),
            vec![&root],
        ),
        (
            "for OCSP",
            purpose(ExtendedKeyUsagePurpose::OcspSigning),
            vec![&root],
        ),
    ];
    let mut lines = Vec::new();
    for (name, leaf, chain) in &bad {
        let envelope = Asked::about(target()).jws(leaf, chain);
        let flaw = super::envelope::Envelope::read(JWS, &envelope).unwrap_err();
        lines.push(format!("{name}: {flaw}"));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn somebody_else_signed() {
    let mut world = World::new();
    world.sign(|asked| asked);
    let stranger = Party::root("stranger");
    let elsewhere = statement(&[&stranger], &["*"]);
    let unknown = world.verdict(elsewhere).await;
    let renamed = world
        .verdict(statement(
            &[&world.root],
            &["C=US, ST=WA, O=acme, CN=other"],
        ))
        .await;
    let pem: &[u8] = include_bytes!("../../fixtures/keys/p256.pub");
    let key = Signer::Key {
        keys: vec![PublicKey::from_pem(pem).unwrap()],
        log: LogRequirement::Ignored,
    };
    let keyed = policy_of(
        vec![("ops", key.clone())],
        Requirement::any(["ops"]).unwrap(),
    );
    let keyed = verdict(&world.memory, &keyed.unwrap()).await;
    let unnamed = policy_of(
        vec![("ops", key), ("corp", notation(world.statement()))],
        Requirement::any(["ops"]).unwrap(),
    );
    let unnamed = verdict(&world.memory, &unnamed.unwrap()).await;
    for verdict in [&unknown, &renamed, &keyed, &unnamed] {
        assert_eq!(verdict.exit(), ExitCode::WrongSigner);
    }
    insta::assert_snapshot!(
        [unknown, renamed, keyed, unnamed]
            .map(|it| told(&it))
            .join("\n")
    );
}

#[tokio::test]
async fn schemes_have_their_own_stores() {
    let mut world = World::new();
    let asked = Asked::about(target()).by_authority("2026-06-01T12:00:00Z");
    let envelope = asked.jws(&world.leaf, &[&world.root]);
    world.attach(JWS, &envelope);
    assert_eq!(world.exit(world.statement()).await, ExitCode::WrongSigner);
    let mut authority = world.statement();
    authority.stores = BTreeMap::from([(
        StoreKind::SigningAuthority,
        store(StoreKind::SigningAuthority, &[&world.root]),
    )]);
    assert_eq!(world.exit(authority.clone()).await, ExitCode::Done);
    world.memory = Memory::with_api().with_image();
    world.memory.now = Some(time(NOW));
    world.sign(|asked| asked);
    assert_eq!(world.exit(authority).await, ExitCode::WrongSigner);
}

/// CVE-2024-23332: a signature that has ended or was revoked must not pass unseen at a lenient level.
#[tokio::test]
async fn cve_2024_23332_what_is_not_enforced_is_said_loudly() {
    let mut world = World::new();
    world.sign(|asked| asked.expiring("2026-06-10T00:00:00Z"));
    let strict = world.verdict(world.statement()).await;
    assert_eq!(strict.exit(), ExitCode::SignatureExpired);
    insta::assert_snapshot!(told(&strict));
    let permissive = at_level(world.statement(), Level::Permissive, &[]);
    let verdict = world.verdict(permissive.clone()).await;
    assert!(verdict.is_verified());
    assert_eq!(check(&verdict).warnings().len(), 1);
    assert!(check(&verdict).found().contains("WARNING"), "{verdict:?}");
    let enforced = [(Aspect::Expiry, Action::Enforce)];
    let overridden = at_level(world.statement(), Level::Permissive, &enforced);
    assert_eq!(world.exit(overridden).await, ExitCode::SignatureExpired);
}

/// Every level against every check: what fails is enforced, said, or not looked at.
#[tokio::test]
async fn every_level_and_check_ends_as_the_table_says() {
    let stranger = Party::root("stranger");
    let mut rows = Vec::new();
    for aspect in Aspect::ALL.map(|(aspect, _)| aspect) {
        let mut world = World::new();
        let mut base = world.statement();
        match aspect {
            Aspect::Authenticity => {
                base = statement(&[&stranger], &["*"]);
                world.sign(|asked| asked);
            }
            Aspect::AuthenticTimestamp => {
                world.memory.now = Some(time("2031-01-01T00:00:00Z"));
                world.sign(|asked| asked);
            }
            Aspect::Expiry => {
                world.sign(|asked| asked.expiring("2026-06-10T00:00:00Z"));
            }
            Aspect::Revocation => {
                world.leaf = Party::leaf("asks", &world.root, |params| {
                    maker::asks(params, Some("http://ocsp.example/"), None);
                });
                world.sign(|asked| asked);
            }
        }
        for (level, name) in Level::ALL {
            let statement = at_level(base.clone(), level, &[]);
            let action = statement.strictness.of(aspect);
            let verdict = world.verdict(statement).await;
            let warned = verdict
                .candidates
                .iter()
                .any(|it| !it.check.warnings().is_empty());
            assert_eq!(verdict.is_verified(), action != Action::Enforce);
            assert_eq!(warned, action == Action::Log, "{name} {aspect:?}");
            rows.push(format!(
                "{name} {}: {}{}",
                aspect.name(),
                verdict.exit().name(),
                if warned { ", with a warning" } else { "" }
            ));
        }
    }
    insta::assert_snapshot!(rows.join("\n"));
}

#[tokio::test]
async fn skip_is_no_signature() {
    let world = World::new();
    let skip = at_level(statement(&[], &[]), Level::Skip, &[]);
    let verdict = world.verdict(skip.clone()).await;
    assert!(matches!(verdict.outcome, Outcome::Skipped { .. }));
    assert!(world.memory.log().is_empty(), "nothing is asked");
    let two = vec![
        ("corp", notation(world.statement())),
        ("lax", notation(skip)),
    ];
    let error = policy_of(two, Requirement::any(["corp", "lax"]).unwrap()).unwrap_err();
    insta::assert_snapshot!(format!("{error} ({})", error.hint().unwrap()));
}

#[tokio::test]
async fn signers_of_all_kinds_count_together() {
    let mut world = World::new();
    world.sign(|asked| asked);
    let second = Party::root("second");
    let beside = Party::leaf("beside", &second, |_| {});
    let key = crate::trust::sign::SigningKey::generate().unwrap();
    let signers = |names: &[&str]| {
        let mut signers = vec![
            ("corp", notation(world.statement())),
            ("beside", notation(statement(&[&second], &["*"]))),
            (
                "ops",
                Signer::Key {
                    keys: vec![PublicKey::from_pem(key.public_pem().as_bytes()).unwrap()],
                    log: LogRequirement::Ignored,
                },
            ),
        ];
        signers.retain(|(name, _)| names.contains(name));
        policy_of(signers, Requirement::all(names.iter().copied()).unwrap()).unwrap()
    };
    let all = ["beside", "corp", "ops"];
    assert_eq!(
        verdict(&world.memory, &signers(&all)).await.exit(),
        ExitCode::WrongSigner
    );
    let policy = signers(&all);
    let envelope = Asked::about(target()).cose(&beside, &[&second]);
    world.attach(COSE, &envelope);
    let bundle = key
        .sign_bundle(&image_descriptor(), Timestamp::UNIX_EPOCH)
        .unwrap();
    world
        .memory
        .refer(&bundle.manifest.bytes, &bundle.blobs[1].bytes);
    let verdict = verdict(&world.memory, &policy).await;
    assert!(verdict.is_verified(), "{verdict:?}");
}

/// CVE-2026-49834: the same signer twice is one, and two signers that one certificate could be are refused.
#[tokio::test]
async fn cve_2026_49834_one_certificate_is_one_signer() {
    let mut world = World::new();
    world
        .sign(|asked| asked)
        .sign(|asked| asked.expiring("2027-01-01T00:00:00Z"));
    let other = Party::root("other");
    let both = vec![
        ("corp", notation(world.statement())),
        ("else", notation(statement(&[&other], &["*"]))),
    ];
    let policy = policy_of(both, Requirement::all(["corp", "else"]).unwrap()).unwrap();
    let verdict = verdict(&world.memory, &policy).await;
    assert_eq!(verdict.exit(), ExitCode::WrongSigner);
    let shared = vec![
        ("corp", notation(world.statement())),
        (
            "team",
            notation(statement(&[&world.root], &["C=US, ST=WA, O=acme, CN=team"])),
        ),
    ];
    let error = policy_of(shared, Requirement::all(["corp", "team"]).unwrap()).unwrap_err();
    insta::assert_snapshot!(format!("{error} ({})", error.hint().unwrap()));
}

#[tokio::test]
async fn metadata_is_held_to_the_letter() {
    let mut world = World::new();
    world.sign(|asked| asked);
    let asking = |name: &str, value: &str| {
        let mut statement = world.statement();
        statement.metadata = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        statement
    };
    assert_eq!(world.exit(asking("build", "17")).await, ExitCode::Done);
    for (name, value) in [("build", "18"), ("branch", "main")] {
        let verdict = world.verdict(asking(name, value)).await;
        assert_eq!(verdict.exit(), ExitCode::WrongSigner, "{verdict:?}");
    }
}

#[tokio::test]
async fn a_policy_that_is_not_about_the_repository_is_an_outcome_of_its_own() {
    let mut world = World::new();
    world.sign(|asked| asked);
    let mut elsewhere = world.statement();
    elsewhere.scope = Scope::Repositories(["r.example/acme/db".to_owned()].into());
    let verdict = world.verdict(elsewhere).await;
    assert!(matches!(refusal(&verdict), Refusal::NoStatement { .. }));
    assert_eq!(verdict.exit(), ExitCode::Untrusted);
    assert!(world.memory.log().is_empty(), "nothing is asked");
    insta::assert_snapshot!(told(&verdict));
}

#[tokio::test]
async fn a_registry_that_fails_is_not_unsigned() {
    for part in ["referrers", "manifest", "blob"] {
        for status in [401, 403, 429, 500] {
            let mut world = World::new();
            world.sign(|asked| asked);
            world.memory.fail(part, Some(status));
            let exit = world.exit(world.statement()).await;
            assert_eq!(exit, ExitCode::LookupFailed, "{part} {status}");
        }
    }
}

/// CVE-2023-33957, CVE-2023-33958: neither many signatures nor large ones are read without end.
#[tokio::test]
async fn cve_2023_33957_the_hundred_and_first_signature_is_not_read() {
    let mut world = World::new();
    let stranger = Party::root("stranger");
    for number in 0..101 {
        let asked = Asked::about(target()).with("number", json!(number.to_string()), false);
        let envelope = if number == 100 {
            asked.jws(&world.leaf, &[&world.root])
        } else {
            asked.jws(&stranger_leaf(&stranger), &[&stranger])
        };
        world.attach(JWS, &envelope);
    }
    let verdict = world.verdict(world.statement()).await;
    assert_eq!(verdict.candidates.len(), 100);
    assert_eq!(verdict.unread, 1);
    assert!(matches!(refusal(&verdict), Refusal::LimitReached { .. }));
}

fn stranger_leaf(by: &Party) -> Party {
    Party::leaf("stranger", by, |_| {})
}

/// CVE-2023-33959: the registry answers with another manifest, another blob, another image.
#[tokio::test]
async fn cve_2023_33959_answers_are_hashed() {
    let mut world = World::new();
    let envelope = Asked::about(target()).jws(&world.leaf, &[&world.root]);
    let mut other = manifest(JWS, &envelope);
    world.attach(JWS, &envelope);
    other.push(b' ');
    let digest = Digest::of(&manifest(JWS, &envelope));
    world.memory.swap(digest, &other);
    assert_eq!(world.exit(world.statement()).await, ExitCode::BadSignature);
    let mut world = World::new();
    world.sign(|asked| asked);
    world.memory.swap(image(), b"{}");
    assert_eq!(world.exit(world.statement()).await, ExitCode::BadSignature);
}

/// CVE-2024-29902, CVE-2024-29903: what claims to be large is not fetched.
#[tokio::test]
async fn cve_2024_29902_what_claims_to_be_large_is_not_fetched() {
    let mut world = World::new();
    let mut large: Value = serde_json::from_slice(&manifest(JWS, b"{}")).unwrap();
    large["layers"][0]["size"] = json!(10_u64 << 30);
    world.memory.refer(large.to_string().as_bytes(), b"{}");
    let verdict = world.verdict(world.statement()).await;
    assert!(matches!(refusal(&verdict), Refusal::LimitReached { .. }));
    assert!(
        !world
            .memory
            .log()
            .iter()
            .any(|line| line.starts_with("blob"))
    );
    let mut world = World::new();
    let layer = large["layers"][0].clone();
    large["layers"] = Value::Array(vec![layer; 10_000]);
    world.memory.refer(large.to_string().as_bytes(), b"{}");
    assert_eq!(world.exit(world.statement()).await, ExitCode::BadSignature);
}

/// CVE-2026-31830: a signature of another image that is attached to this one is a bad signature.
#[tokio::test]
async fn cve_2026_31830_a_signature_of_another_image_is_bad() {
    let mut world = World::new();
    let mut other = target();
    other["digest"] = json!(Digest::of(b"another").to_string());
    let envelope = Asked::about(other).jws(&world.leaf, &[&world.root]);
    world.attach(JWS, &envelope);
    let verdict = world.verdict(world.statement()).await;
    assert!(matches!(check(&verdict), Check::OtherDigest { .. }));
    assert_eq!(verdict.exit(), ExitCode::BadSignature);
    // A good one beside it counts.
    world.sign(|asked| asked);
    assert_eq!(world.exit(world.statement()).await, ExitCode::Done);
}

/// CVE-2026-48815: every key of a trust policy is enforced, and one that is not known is an error.
#[test]
fn cve_2026_48815_no_key_of_a_trust_policy_does_nothing() {
    let whole = json!({
        "version": "1.0",
        "trustPolicies": [{
            "name": "corp",
            "registryScopes": ["r.example/acme/web"],
            "signatureVerification": {"level": "strict", "override": {"revocation": "log"}, "verifyTimestamp": "always"},
            "trustStores": ["ca:acme", "tsa:acme"],
            "trustedIdentities": ["x509.subject: C=US, ST=WA, O=acme"],
        }],
    });
    let root = Party::root("root");
    let read = |document: &Value| {
        Notary::from_json(document.to_string().as_bytes(), |kind, _| {
            Ok(store(kind, &[&root]))
        })
    };
    let notary = read(&whole).unwrap();
    assert!(notary.statement_for(&repository()).is_some());
    type Change = fn(&mut Value);
    let changes: Vec<(&str, Change)> = vec![
        ("version", |it| it["version"] = json!("2.0")),
        ("no version", |it| it["version"] = Value::Null),
        ("no statements", |it| it["trustPolicies"] = json!([])),
        ("unknown key", |it| {
            it["trustPolicies"][0]["trustedIdentity"] = json!([])
        }),
        ("unknown level", |it| {
            it["trustPolicies"][0]["signatureVerification"]["level"] = json!("lax")
        }),
        ("integrity", |it| {
            it["trustPolicies"][0]["signatureVerification"]["override"] =
                json!({"integrity": "log"})
        }),
        ("authenticity skipped", |it| {
            it["trustPolicies"][0]["signatureVerification"]["override"] =
                json!({"authenticity": "skip"})
        }),
        ("unknown action", |it| {
            it["trustPolicies"][0]["signatureVerification"]["override"] = json!({"expiry": "warn"})
        }),
        ("verifyTimestamp", |it| {
            it["trustPolicies"][0]["signatureVerification"]["verifyTimestamp"] = json!("never")
        }),
        ("no stores", |it| {
            it["trustPolicies"][0]["trustStores"] = json!([])
        }),
        ("unknown store type", |it| {
            it["trustPolicies"][0]["trustStores"] = json!(["key:acme"])
        }),
        ("store outside", |it| {
            it["trustPolicies"][0]["trustStores"] = json!(["ca:.."])
        }),
        ("store path", |it| {
            it["trustPolicies"][0]["trustStores"] = json!(["ca:a/b"])
        }),
        ("no identities", |it| {
            it["trustPolicies"][0]["trustedIdentities"] = json!([])
        }),
        ("wildcard beside", |it| {
            it["trustPolicies"][0]["trustedIdentities"] =
                json!(["*", "x509.subject: C=US, ST=WA, O=acme"])
        }),
        ("overlapping", |it| {
            it["trustPolicies"][0]["trustedIdentities"] = json!([
                "x509.subject: C=US, ST=WA, O=acme",
                "x509.subject: C=US, ST=WA, O=acme, CN=x"
            ])
        }),
        ("other identity", |it| {
            it["trustPolicies"][0]["trustedIdentities"] = json!(["did:acme"])
        }),
        ("short identity", |it| {
            it["trustPolicies"][0]["trustedIdentities"] = json!(["x509.subject: O=acme"])
        }),
        ("no scope", |it| {
            it["trustPolicies"][0]["registryScopes"] = json!([])
        }),
        ("scope pattern", |it| {
            it["trustPolicies"][0]["registryScopes"] = json!(["r.example/acme/*"])
        }),
        ("scope beside all", |it| {
            it["trustPolicies"][0]["registryScopes"] = json!(["*", "r.example/a"])
        }),
        ("scope twice", |it| {
            it["trustPolicies"][0]["registryScopes"] = json!(["r.example/a", "r.example/a"])
        }),
        ("skip with stores", |it| {
            it["trustPolicies"][0]["signatureVerification"] = json!({"level": "skip"})
        }),
        ("name twice", |it| {
            let mut again = it["trustPolicies"][0].clone();
            again["registryScopes"] = json!(["*"]);
            it["trustPolicies"].as_array_mut().unwrap().push(again);
        }),
    ];
    let mut lines = Vec::new();
    for (name, change) in changes {
        let mut changed = whole.clone();
        change(&mut changed);
        let error = read(&changed).unwrap_err();
        lines.push(format!("{name}: {error} ({})", error.hint().unwrap()));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn an_exact_scope_wins_over_all() {
    let root = Party::root("root");
    let document = json!({
        "version": "1.0",
        "trustPolicies": [
            {"name": "all", "registryScopes": ["*"], "signatureVerification": {"level": "audit"}, "trustStores": ["ca:a"], "trustedIdentities": ["*"]},
            {"name": "web", "registryScopes": ["r.example/acme/web"], "signatureVerification": {"level": "skip"}},
        ],
    });
    let notary = Notary::from_json(document.to_string().as_bytes(), |kind, _| {
        Ok(store(kind, &[&root]))
    })
    .unwrap();
    let name = |reference: &str| {
        let reference: crate::oci::Reference = reference.parse().unwrap();
        notary
            .statement_for(&reference.repository)
            .map(|it| it.name.clone())
    };
    assert_eq!(name("r.example/acme/web:v1").as_deref(), Some("web"));
    assert_eq!(name("r.example/acme/web2:v1").as_deref(), Some("all"));
}

#[test]
fn stores_take_authorities_only() {
    let root = Party::root("root");
    let leaf = Party::leaf("leaf", &root, |_| {});
    let middle = Party::authority("middle", Some(&root), |_| {});
    let told = |kind: StoreKind, bytes: &[u8]| {
        let error = TrustStore::default()
            .add(kind, "file.pem", bytes)
            .unwrap_err();
        format!("{error} ({})", error.hint().unwrap())
    };
    let mut store = TrustStore::default();
    store.add(StoreKind::Authority, "a.crt", &root.der).unwrap();
    store
        .add(StoreKind::Authority, "b.crt", &middle.pem())
        .unwrap();
    let lines = [
        told(StoreKind::Authority, &leaf.pem()),
        told(StoreKind::TimeStamping, &middle.pem()),
        told(StoreKind::Authority, b""),
        told(
            StoreKind::Authority,
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ),
        told(StoreKind::Authority, &[0x30, 0x82, 1, 1]),
        told(StoreKind::Authority, &vec![b' '; TrustStore::MAX_FILE + 1]),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        for media_type in [JWS, COSE] {
            let _ = super::envelope::Envelope::read(media_type, &bytes);
        }
        let _ = super::certificate::Certificate::from_der(&bytes);
        let _ = super::timestamp::verify(&bytes, b"", &TrustStore::default());
        let _ = super::crypto::first_part(&bytes);
    }
}
