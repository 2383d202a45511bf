//! A helper's system calls, as far as its engine lets them be chosen.

use docker::{Calls, Engine};

use crate::Error;

/// Brings a helper up that makes its program's system calls alone; and where that cannot be, one of the
/// same name that makes those that the engine lets every container make.
pub(super) async fn with_calls<T>(
    engine: &Engine,
    name: &str,
    bring_up: impl AsyncFn(Calls) -> Result<T, Error>,
) -> Result<T, Error> {
    match bring_up(Calls::Own).await {
        Err(Error::Engine(error)) if is_about_calls(&error) => {
            engine.remove_helper(name).await?;
            bring_up(Calls::Engines).await
        }
        other => other,
    }
}

/// Whether it may be for its system calls that a helper did not come up: an engine that does not filter
/// them says so; a runtime that makes others itself, behind the filter, only says that it has failed.
fn is_about_calls(error: &docker::Error) -> bool {
    match error {
        docker::Error::CallsRefused { .. } => true,
        docker::Error::Api { message, .. } => message.to_ascii_lowercase().contains("oci runtime"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use docker::{Endpoint, EndpointOptions, HelperSpec, Shape};

    use super::{super::runtime, *};

    fn endpoint(lab: &lab::Engine) -> Endpoint {
        let options =
            EndpointOptions { hosts: vec![lab.host().to_owned()], ..EndpointOptions::default() };
        Endpoint::resolve(&options, |_| None).unwrap()
    }

    /// A helper of the lab's image.
    fn spec(name: &str, words: &[&str]) -> HelperSpec {
        HelperSpec {
            name: format!("whaletap-{name}-{}", std::process::id()),
            owner: "a test".into(),
            image: lab::engine::IMAGE.into(),
            shape: Shape::Host,
            calls: Calls::Own,
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            mounts: Vec::new(),
            attached: false,
        }
    }

    /// Docker refuses a list of calls when the container is there already: it is not in the way of the
    /// next one of its name.
    #[test]
    fn where_its_calls_are_refused_a_helper_is_made_anew() {
        let lab = lab::Engine::shared().unwrap();
        lab.image().unwrap();
        let (endpoint, spec) = (endpoint(&lab), spec("refused", &["true"]));
        runtime().unwrap().block_on(async {
            let engine = Engine::connect(&endpoint).await.unwrap();
            let made = with_calls(&engine, &spec.name, async |calls| {
                let id = engine.create_helper(&HelperSpec { calls, ..spec.clone() }).await?;
                match calls {
                    Calls::Own => {
                        let message = "seccomp is not enabled in your kernel".to_owned();
                        Err(docker::Error::CallsRefused { message }.into())
                    }
                    Calls::Engines => Ok(id),
                }
            });
            let id = made.await.unwrap();
            assert!(engine.remove_helper(&id).await.unwrap());
        });
    }

    #[test]
    fn where_the_runtime_fails_a_helper_is_made_anew() {
        let lab = lab::Engine::shared().unwrap();
        lab.image().unwrap();
        let endpoint = endpoint(&lab);
        let [failing, starting] = [&["/does/not/exist"][..], &["sleep", "600"]];
        runtime().unwrap().block_on(async {
            let engine = Engine::connect(&endpoint).await.unwrap();
            let bring_up = async |words: &[&str]| {
                let spec = spec("failing", words);
                let id = engine.create_helper(&spec).await?;
                engine.start_helper(&id).await?;
                Ok(id)
            };
            let name = spec("failing", &[]).name;
            let up = with_calls(&engine, &name, async |calls| {
                bring_up(if calls == Calls::Own { failing } else { starting }).await
            });
            let id = up.await.unwrap();
            assert!(engine.remove_helper(&id).await.unwrap());
            // What fails with any calls is told as what it is.
            let down = with_calls(&engine, &name, async |_| bring_up(failing).await);
            let error = down.await.unwrap_err().to_string();
            assert!(error.contains("/does/not/exist"), "{error}");
            engine.remove_helper(&name).await.unwrap();
        });
    }
}
