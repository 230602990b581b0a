//! Whether certificates were revoked: by responders, by lists, by neither.

use rcgen::RevocationReason;
use x509_ocsp::CertStatus;

use super::maker::{Asked, Party, Stamp, asks, revoked, time};
use super::*;

const RESPONDER: &str = "http://ocsp.example/";
const LIST: &str = "http://crl.example/ca.crl";
const UNTIL: &str = "2026-06-20T00:00:00Z";

struct Asking {
    world: World,
    hosts: Vec<&'static str>,
}

impl Asking {
    fn new(responder: Option<&str>, list: Option<&str>) -> Self {
        let mut world = World::new();
        world.leaf = Party::leaf("release", &world.root, |params| {
            asks(params, responder, list);
        });
        world.sign(|asked| asked);
        Self {
            world,
            hosts: vec!["ocsp.example", "crl.example"],
        }
    }

    fn hear(&mut self, place: &str, answer: Vec<u8>) {
        self.world
            .memory
            .authorities
            .insert(place.to_owned(), answer.into());
    }

    fn answer(&self, status: CertStatus, until: Option<&str>) -> Vec<u8> {
        let World { root, leaf, .. } = &self.world;
        root.answer(root, leaf, status, until, &[])
    }

    fn policy(&self, statement: Statement) -> Policy {
        let hosts = self.hosts.iter().map(|host| host.parse().unwrap());
        policy(statement).with_revocation(Revocation::new(hosts.collect()))
    }

    async fn verdict(&self) -> Verdict {
        let policy = self.policy(self.world.statement());
        verdict(&self.world.memory, &policy).await
    }

    fn asked(&self) -> Vec<String> {
        let log = self.world.memory.log().into_iter();
        log.filter(|line| line.starts_with("ocsp ") || line.starts_with("crl "))
            .collect()
    }
}

#[tokio::test]
async fn a_good_answer_is_enough() {
    let mut asking = Asking::new(Some(RESPONDER), Some(LIST));
    let answer = asking.answer(CertStatus::good(), Some(UNTIL));
    asking.hear(RESPONDER, answer);
    let verdict = asking.verdict().await;
    assert!(verdict.is_verified(), "{verdict:?}");
    assert_eq!(asking.asked(), [format!("ocsp {RESPONDER}")]);
}

#[tokio::test]
async fn a_revoked_certificate_is_an_outcome_of_its_own() {
    let mut asking = Asking::new(Some(RESPONDER), None);
    let answer = asking.answer(revoked(), Some(UNTIL));
    asking.hear(RESPONDER, answer);
    let verdict = asking.verdict().await;
    assert_eq!(verdict.exit(), ExitCode::SignatureRevoked);
    assert!(matches!(refusal(&verdict), Refusal::Revoked { .. }));
    insta::assert_snapshot!(told(&verdict));
    let permissive = at_level(asking.world.statement(), Level::Permissive, &[]);
    let lenient = super::verdict(&asking.world.memory, &asking.policy(permissive)).await;
    assert!(lenient.is_verified());
    assert!(check(&lenient).warnings()[0].contains("was revoked"));
    let skipping = [(Aspect::Revocation, Action::Skip)];
    let skipping = at_level(asking.world.statement(), Level::Strict, &skipping);
    let before = asking.asked().len();
    let skipped = super::verdict(&asking.world.memory, &asking.policy(skipping)).await;
    assert!(skipped.is_verified());
    assert!(check(&skipped).warnings().is_empty());
    assert_eq!(asking.asked().len(), before, "nobody is asked");
}

#[tokio::test]
async fn a_host_that_is_not_listed_is_never_asked() {
    let mut asking = Asking::new(Some(RESPONDER), Some(LIST));
    asking.hosts.clear();
    let answer = asking.answer(CertStatus::good(), Some(UNTIL));
    asking.hear(RESPONDER, answer);
    let verdict = asking.verdict().await;
    assert_eq!(verdict.exit(), ExitCode::LookupFailed);
    assert!(asking.asked().is_empty(), "{:?}", asking.asked());
    insta::assert_snapshot!(told(&verdict));
}

#[tokio::test]
async fn a_list_stands_in_for_a_responder_that_gives_no_answer() {
    let mut asking = Asking::new(Some(RESPONDER), Some(LIST));
    let list = asking.world.root.list(&[], (2026, 6, 20));
    asking.hear(LIST, list);
    assert!(asking.verdict().await.is_verified());
    assert_eq!(
        asking.asked(),
        [format!("ocsp {RESPONDER}"), format!("crl {LIST}")]
    );
    let list = {
        let World { root, leaf, .. } = &asking.world;
        root.list(&[(leaf, RevocationReason::KeyCompromise)], (2026, 6, 20))
    };
    asking.hear(LIST, list);
    assert_eq!(asking.verdict().await.exit(), ExitCode::SignatureRevoked);
}

#[tokio::test]
async fn answers_that_prove_nothing() {
    let mut lines = Vec::new();
    let mut ask = async |name: &str, place: &str, make: &dyn Fn(&World) -> Vec<u8>| {
        let (responder, list) = if place == LIST {
            (None, Some(LIST))
        } else {
            (Some(RESPONDER), None)
        };
        let mut asking = Asking::new(responder, list);
        let answer = make(&asking.world);
        asking.hear(place, answer);
        let verdict = asking.verdict().await;
        assert_eq!(verdict.exit(), ExitCode::LookupFailed, "{name}");
        let found = check(&verdict).found();
        // How long a list is differs by the bytes of its signature.
        let (found, _lengths) = found.split_once(": ASN.1").unwrap_or((&found, ""));
        lines.push(format!("{name}: {found}"));
    };
    let good = |root: &Party, by: &Party, leaf: &Party, until| {
        by.answer(root, leaf, CertStatus::good(), until, &[])
    };
    ask("out of date", RESPONDER, &|it| {
        good(&it.root, &it.root, &it.leaf, Some("2026-06-15T11:30:00Z"))
    })
    .await;
    ask("without end", RESPONDER, &|it| {
        good(&it.root, &it.root, &it.leaf, None)
    })
    .await;
    ask("by somebody else", RESPONDER, &|it| {
        good(&it.root, &Party::root("evil"), &it.leaf, Some(UNTIL))
    })
    .await;
    ask("by a signer of images", RESPONDER, &|it| {
        let leaf = Party::leaf("signer", &it.root, |_| {});
        leaf.answer(
            &it.root,
            &it.leaf,
            CertStatus::good(),
            Some(UNTIL),
            &[&leaf],
        )
    })
    .await;
    ask("about another certificate", RESPONDER, &|it| {
        let other = Party::leaf("other", &it.root, |_| {});
        good(&it.root, &it.root, &other, Some(UNTIL))
    })
    .await;
    ask("does not know it", RESPONDER, &|it| {
        it.root
            .answer(&it.root, &it.leaf, CertStatus::unknown(), Some(UNTIL), &[])
    })
    .await;
    ask("nonsense", RESPONDER, &|_| b"<html>".to_vec()).await;
    ask("refused", RESPONDER, &|_| vec![0x30, 3, 0x0a, 1, 6]).await;
    ask("too large", RESPONDER, &|_| vec![0x30; 1 << 20]).await;
    ask("list out of date", LIST, &|it| {
        it.root.list(&[], (2026, 6, 14))
    })
    .await;
    ask("list by somebody else", LIST, &|_| {
        Party::root("root").list(&[], (2026, 6, 20))
    })
    .await;
    ask("list cut short", LIST, &|it| {
        let mut list = it.root.list(&[], (2026, 6, 20));
        list.truncate(list.len() - 10);
        list
    })
    .await;
    ask("no list", LIST, &|_| b"<html>".to_vec()).await;
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn an_authority_may_delegate_and_may_send_its_own_certificate() {
    let mut asking = Asking::new(Some(RESPONDER), None);
    let answer = {
        let World { root, leaf, .. } = &asking.world;
        let delegate = Party::new("responder", Some(root), |params| {
            params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::OcspSigning];
        });
        delegate.answer(root, leaf, CertStatus::good(), Some(UNTIL), &[&delegate])
    };
    asking.hear(RESPONDER, answer);
    assert!(asking.verdict().await.is_verified());
    let answer = {
        let World { root, leaf, .. } = &asking.world;
        root.answer(root, leaf, CertStatus::good(), Some(UNTIL), &[root])
    };
    asking.hear(RESPONDER, answer);
    assert!(asking.verdict().await.is_verified());
}

#[tokio::test]
async fn what_was_heard_is_not_asked_for_again() {
    let mut asking = Asking::new(None, Some(LIST));
    let list = asking.world.root.list(&[], (2026, 6, 20));
    asking.hear(LIST, list);
    let policy = asking.policy(asking.world.statement());
    for _ in 0..3 {
        let verdict = verdict(&asking.world.memory, &policy).await;
        assert!(verdict.is_verified());
    }
    assert_eq!(asking.asked().len(), 1);
}

#[tokio::test]
async fn a_hold_can_be_taken_back() {
    for (reason, exit) in [
        (
            RevocationReason::CertificateHold,
            ExitCode::SignatureRevoked,
        ),
        (RevocationReason::RemoveFromCrl, ExitCode::Done),
        (RevocationReason::Superseded, ExitCode::SignatureRevoked),
    ] {
        let mut asking = Asking::new(None, Some(LIST));
        let list = {
            let World { root, leaf, .. } = &asking.world;
            root.list(&[(leaf, reason)], (2026, 6, 20))
        };
        asking.hear(LIST, list);
        assert_eq!(asking.verdict().await.exit(), exit, "{reason:?}");
    }
}

/// CVE-2024-56138: the chain of a time-stamp authority can be revoked as well.
#[tokio::test]
async fn cve_2024_56138_a_revoked_time_stamp_authority_counts_no_longer() {
    for (status, exit) in [
        (CertStatus::good(), ExitCode::Done),
        (revoked(), ExitCode::SignatureRevoked),
    ] {
        let authority = Party::root("time");
        let stamper = Party::stamper(&authority, |params| asks(params, Some(RESPONDER), None));
        let mut world = World::new();
        world.memory.now = Some(time(NOW));
        let stamp = Stamp {
            signer: &stamper,
            with: vec![&stamper],
            at: "2026-06-01T12:00:00Z",
            accuracy: None,
            named: Some(&stamper),
        };
        let asked = Asked::about(target()).stamped(stamp);
        let envelope = asked.jws(&world.leaf, &[&world.root]);
        world.attach(JWS, &envelope);
        let answer = authority.answer(&authority, &stamper, status, Some(UNTIL), &[]);
        world
            .memory
            .authorities
            .insert(RESPONDER.to_owned(), answer.into());
        let mut statement = world.statement();
        statement.stores.insert(
            StoreKind::TimeStamping,
            store(StoreKind::TimeStamping, &[&authority]),
        );
        let hosts = vec!["ocsp.example".parse().unwrap()];
        let policy = policy(statement).with_revocation(Revocation::new(hosts));
        let verdict = verdict(&world.memory, &policy).await;
        assert_eq!(verdict.exit(), exit, "{verdict:?}");
    }
}

/// Flips bits all over an answer and a list that say `revoked`: none of them may say `good` after that.
#[test]
fn no_flipped_bit_makes_a_certificate_good() {
    use super::super::certificate::Certificate;
    use super::super::{crl, ocsp, revocation::Status};
    let root = Party::root("root");
    let leaf = Party::leaf("leaf", &root, |params| asks(params, None, Some(LIST)));
    let answer = root.answer(&root, &leaf, revoked(), Some(UNTIL), &[]);
    let list = root.list(&[(&leaf, RevocationReason::KeyCompromise)], (2026, 6, 20));
    let (root, leaf) = (
        Certificate::from_der(&root.der).unwrap(),
        Certificate::from_der(&leaf.der).unwrap(),
    );
    let now = time(NOW);
    let by_answer = |bytes: &[u8]| ocsp::status(bytes, &leaf, &root, None, now);
    let by_list = |bytes: &[u8]| -> Result<bool, String> {
        let list = crl::List::read(bytes, &root, now)?;
        list.covers(&leaf, &leaf.lists)?;
        Ok(list.find(bytes, &leaf, None)?.is_none())
    };
    assert!(matches!(by_answer(&answer), Ok(Status::Revoked { .. })));
    assert_eq!(by_list(&list), Ok(false));
    for index in 0..answer.len() {
        let mut flipped = answer.clone();
        flipped[index] ^= 1 << (index % 8);
        assert!(!matches!(by_answer(&flipped), Ok(Status::Good)), "{index}");
    }
    for index in 0..list.len() {
        let mut flipped = list.clone();
        flipped[index] ^= 1 << (index % 8);
        assert_ne!(by_list(&flipped), Ok(true), "{index}");
    }
}

/// CVE-2024-45395: neither a list of questions nor the answers to them are endless.
#[tokio::test]
async fn cve_2024_45395_questions_are_counted() {
    let mut world = World::new();
    let mut places = Vec::new();
    for number in 0..40 {
        let place = format!("http://ocsp.example/{number}");
        let leaf = Party::leaf("leaf", &world.root, |params| {
            asks(params, Some(&place), None);
        });
        let envelope = Asked::about(target()).jws(&leaf, &[&world.root]);
        world.attach(JWS, &envelope);
        places.push(place);
    }
    let hosts = vec!["ocsp.example".parse().unwrap()];
    let policy = policy(world.statement()).with_revocation(Revocation::new(hosts));
    let verdict = verdict(&world.memory, &policy).await;
    assert_eq!(verdict.exit(), ExitCode::LookupFailed);
    let asked = world.memory.log();
    let asked = asked
        .iter()
        .filter(|line| line.starts_with("ocsp "))
        .count();
    assert_eq!(asked, crate::trust::MAX_ENQUIRIES);
}
