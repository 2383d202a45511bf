use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Error;

/// Raises the bound on open descriptors (`RLIMIT_NOFILE`) to `needed`, or as far as this process
/// may. It is never lowered. Answers the bound that is in force then: callers compare.
///
/// # Errors
/// When the kernel refuses a bound within the hard one, which it should not.
///
/// # Privileges
/// `CAP_SYS_RESOURCE` to go above the hard bound; none below.
pub fn raise_descriptor_limit(needed: u64) -> Result<u64, Error> {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= needed {
        return Ok(current);
    }
    let maximum = limit.maximum.unwrap_or(u64::MAX);
    if needed > maximum {
        let raised = Rlimit { current: Some(needed), maximum: Some(needed) };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            return Ok(needed);
        }
    }
    let reachable = needed.min(maximum);
    setrlimit(Resource::Nofile, Rlimit { current: Some(reachable), maximum: limit.maximum })
        .map_err(Error::call("setrlimit(RLIMIT_NOFILE)"))?;
    Ok(reachable)
}
