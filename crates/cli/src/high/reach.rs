use std::path::PathBuf;

use session::{Reach, Via};

use super::{Surroundings, runtime_directory};
use crate::flags::{ReachFlags, ViaWord};

/// How namespaces are reached.
pub(crate) fn reach(flags: &ReachFlags, surroundings: &Surroundings) -> Reach {
    let via = match flags.via {
        ViaWord::Auto => Via::Auto,
        ViaWord::Host => Via::Host,
        ViaWord::Helper => Via::Helper,
    };
    let program = (surroundings.variable)("WHALETAP_AGENT").filter(|path| !path.is_empty());
    Reach {
        via,
        program: program.map(PathBuf::from),
        runtime_directory: runtime_directory(surroundings),
    }
}
