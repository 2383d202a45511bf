use docker::{Endpoint, EndpointOptions, Host};
use model::Selector;

use super::{Surroundings, runtime_directory};
use crate::{exit::Failure, flags::GlobalFlags};

/// Which engine is meant. Where none is needed, nothing that is wrong with it matters.
pub(crate) fn endpoint<'a>(
    global: &GlobalFlags,
    selectors: impl IntoIterator<Item = &'a Selector>,
    surroundings: &Surroundings,
) -> Result<Endpoint, Failure> {
    let options = EndpointOptions {
        context: global.context.clone(),
        hosts: global.hosts.clone(),
        config: global.config.clone(),
        tls: global.tls.unwrap_or(false),
        tls_verify: global.tls_verify,
        tls_ca_cert: global.tls_ca_cert.clone(),
        tls_cert: global.tls_cert.clone(),
        tls_key: global.tls_key.clone(),
    };
    let resolved = Endpoint::resolve(&options, surroundings.variable);
    let runtime_directory = runtime_directory(surroundings);
    let runtime_directory = runtime_directory.filter(|path| (surroundings.is_own_directory)(path));
    let own = |endpoint: Endpoint| {
        endpoint.or_of_this_user(runtime_directory.as_deref(), surroundings.may_connect)
    };
    // Later this process may be somebody who may not read them.
    match resolved.map(own).and_then(Endpoint::with_secrets) {
        Ok(endpoint) => Ok(endpoint),
        Err(_) if !selectors.into_iter().any(Selector::needs_engine) => {
            Ok(Endpoint::unix(Host::DEFAULT_SOCKET))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn resolve(global: &GlobalFlags, selectors: &[Selector]) -> Result<Endpoint, Failure> {
        endpoint(global, selectors, &Surroundings::for_tests())
    }

    #[test]
    fn options_lead_to_an_engine() {
        let web: Selector = "web".parse().unwrap();
        let mut global = GlobalFlags { hosts: vec!["unix:///x.sock".into()], ..Default::default() };
        let found = resolve(&global, std::slice::from_ref(&web)).unwrap();
        assert_eq!(found, Endpoint::unix("/x.sock"));
        global.context = Some("prod".into());
        let refused = resolve(&global, std::slice::from_ref(&web)).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
    }

    #[test]
    fn a_context_that_is_not_there_matters_only_to_those_who_need_an_engine() {
        let global = GlobalFlags {
            context: Some("nowhere".into()),
            config: Some("/does/not/exist".into()),
            ..Default::default()
        };
        let refused = resolve(&global, &["web".parse().unwrap()]).unwrap_err();
        assert_eq!(refused.exit, Exit::EngineUnreachable);
        let local: Vec<Selector> = ["host", "pid:1", "netns:/x"].map(|s| s.parse().unwrap()).into();
        assert!(resolve(&global, &local).is_ok());
    }
}
