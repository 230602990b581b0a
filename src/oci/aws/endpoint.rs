//! Which of AWS's services gives the logins of a registry.

/// A registry of ECR, by its host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Registry {
    /// Its region; none for a host that does not tell.
    pub(super) region: Option<String>,
    /// Whether it is the public one.
    pub(super) is_public: bool,
    is_fips: bool,
    is_dual_stack: bool,
    partition: &'static Partition,
}

/// A part of AWS that has names of its own.
#[derive(Debug, Eq, PartialEq)]
struct Partition {
    /// Below what its services are.
    suffix: &'static str,
    /// Below what its registries are that have IPv6 as well.
    dual_stack_registries: Option<&'static str>,
    /// Below what its services are that have IPv6 as well.
    dual_stack: Option<&'static str>,
}

/// As botocore lists them.
static PARTITIONS: [Partition; 7] = [
    Partition {
        suffix: "amazonaws.com",
        dual_stack_registries: Some("on.aws"),
        dual_stack: Some("api.aws"),
    },
    Partition {
        suffix: "amazonaws.com.cn",
        dual_stack_registries: Some("on.amazonwebservices.com.cn"),
        dual_stack: Some("api.amazonwebservices.com.cn"),
    },
    Partition {
        suffix: "amazonaws.eu",
        dual_stack_registries: Some("on.amazonwebservices.eu"),
        dual_stack: Some("api.amazonwebservices.eu"),
    },
    isolated("c2s.ic.gov"),
    isolated("cloud.adc-e.uk"),
    isolated("csp.hci.ic.gov"),
    isolated("sc2s.sgov.gov"),
];

const fn isolated(suffix: &'static str) -> Partition {
    Partition {
        suffix,
        dual_stack_registries: None,
        dual_stack: None,
    }
}

/// The region of the public registry's service.
pub(super) const PUBLIC_REGION: &str = "us-east-1";

impl Registry {
    /// Reads the host of a registry, as it is written in references.
    pub(super) fn of(host: &str) -> Option<Self> {
        if matches!(host, "public.ecr.aws" | "ecr-public.aws.com") {
            return Some(Self {
                region: Some(PUBLIC_REGION.to_owned()),
                is_public: true,
                is_dual_stack: host == "ecr-public.aws.com",
                ..Self::elsewhere()
            });
        }
        let (account, rest) = host.split_once('.')?;
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        PARTITIONS.iter().find_map(|partition| {
            let below = |suffix: &str| rest.strip_suffix(suffix)?.strip_suffix('.');
            let single = below(partition.suffix).and_then(|front| {
                let front = front.strip_prefix("dkr.ecr")?;
                Some((front, false))
            });
            let dual = partition.dual_stack_registries.and_then(|suffix| {
                let front = below(suffix)?.strip_prefix("dkr-ecr")?;
                Some((front, true))
            });
            let (front, is_dual_stack) = single.or(dual)?;
            let (is_fips, region) = match front.strip_prefix("-fips.") {
                Some(region) => (true, region),
                None => (false, front.strip_prefix('.')?),
            };
            is_region(region).then(|| Self {
                region: Some(region.to_owned()),
                is_public: false,
                is_fips,
                is_dual_stack,
                partition,
            })
        })
    }

    /// Returns a registry of ECR behind a host that does not say so.
    pub(super) fn elsewhere() -> Self {
        Self {
            region: None,
            is_public: false,
            is_fips: false,
            is_dual_stack: false,
            partition: &PARTITIONS[0],
        }
    }

    /// Returns the same registry, to be asked by a validated service.
    pub(super) fn with_fips(self, is_fips: bool) -> Self {
        Self {
            is_fips: self.is_fips || is_fips,
            ..self
        }
    }

    /// Returns the host of the service that gives its logins.
    pub(super) fn service(&self, region: &str) -> String {
        let name = match (self.is_public, self.is_fips) {
            (true, _) => "ecr-public",
            (false, true) => "ecr-fips",
            (false, false) => "ecr",
        };
        match self.partition.dual_stack.filter(|_| self.is_dual_stack) {
            Some(suffix) => format!("{name}.{region}.{suffix}"),
            None if self.is_fips && !self.is_public => {
                format!("{name}.{region}.{}", self.partition.suffix)
            }
            None => format!("api.{name}.{region}.{}", self.partition.suffix),
        }
    }

    /// Returns the host of the service that gives keys for roles.
    pub(super) fn roles(&self, region: &str) -> String {
        let name = if self.is_fips { "sts-fips" } else { "sts" };
        match self.partition.dual_stack.filter(|_| self.is_dual_stack) {
            Some(suffix) => format!("{name}.{region}.{suffix}"),
            None => format!("{name}.{region}.{}", self.partition.suffix),
        }
    }
}

/// Says whether a text can be a region: it becomes a part of a host's name.
pub(super) fn is_region(text: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= 40
        && text.bytes().all(sound)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_of_registries() {
        for (host, service, roles) in [
            (
                "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
                "api.ecr.eu-central-1.amazonaws.com",
                "sts.eu-central-1.amazonaws.com",
            ),
            (
                "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
                "api.ecr.cn-north-1.amazonaws.com.cn",
                "sts.cn-north-1.amazonaws.com.cn",
            ),
            (
                "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
                "ecr-fips.us-gov-west-1.amazonaws.com",
                "sts-fips.us-gov-west-1.amazonaws.com",
            ),
            (
                "123456789012.dkr-ecr.eu-west-1.on.aws",
                "ecr.eu-west-1.api.aws",
                "sts.eu-west-1.api.aws",
            ),
            (
                "123456789012.dkr-ecr-fips.us-east-1.on.aws",
                "ecr-fips.us-east-1.api.aws",
                "sts-fips.us-east-1.api.aws",
            ),
            (
                "public.ecr.aws",
                "api.ecr-public.us-east-1.amazonaws.com",
                "sts.us-east-1.amazonaws.com",
            ),
        ] {
            let registry = Registry::of(host).unwrap();
            let region = registry.region.clone().unwrap();
            assert_eq!(registry.service(&region), service, "{host}");
            assert_eq!(registry.roles(&region), roles, "{host}");
        }
    }

    #[test]
    fn hosts_that_only_look_like_one() {
        for host in [
            "dkr.ecr.eu-central-1.amazonaws.com",
            "12345678901.dkr.ecr.eu-central-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com.evil.example",
            "123456789012.dkr.ecr.eu-central-1.evil-amazonaws.com",
            "123456789012.dkr.ecr..amazonaws.com",
            "123456789012.dkr.ecr.a.b.amazonaws.com",
            "123456789012.dkr.ecr.EU.amazonaws.com",
            "123456789012.dkr.ecrx.eu-central-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com:8443",
            "x.public.ecr.aws",
        ] {
            assert_eq!(Registry::of(host), None, "{host}");
        }
    }
}
