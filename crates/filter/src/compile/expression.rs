use std::fmt;

use model::{LinkType, Program, Snaplen};

use super::{
    libpcap::{Handle, Refusal},
    position,
    token::Token,
};
use crate::{Compiled, Error, TagPlace, Verdict, Verified};

/// A capture expression as the user wrote it: pcap-filter(7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expression(String);

impl Expression {
    /// An expression. Whether it means something shows when it is compiled.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether it says nothing, and so takes everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        Token::split(&self.0).is_empty()
    }

    /// Compiles the expression for each link type that we write.
    ///
    /// `in_private_namespace` is called only for expressions with `vlan`. It runs the job in a
    /// network namespace whose loopback device is up, on a thread that ends with it. When it fails
    /// the expression is evaluated in user space, and [`Compiled::vlan_in_user_space`] says why.
    ///
    /// Names in the expression are resolved by libpcap, which may ask a name server.
    ///
    /// # Errors
    /// When the expression compiles for no link type, with libpcap's message for Ethernet, and
    /// for `ip broadcast`.
    ///
    /// # Privileges
    /// None. The job needs `CAP_NET_RAW` in its namespace.
    pub fn compile<E: fmt::Display>(
        &self,
        snaplen: Snaplen,
        in_private_namespace: impl FnOnce(LiveJob<'_>) -> Result<LiveProgram, E>,
    ) -> Result<Compiled, Error> {
        let text = &self.0;
        if let Some(position) = text.find('\0') {
            return Err(Error::Nul { position });
        }
        let tokens = Token::split(text);
        if tokens.is_empty() {
            return Ok(Compiled::everything(snaplen));
        }
        self.refuse_ip_broadcast(&tokens)?;

        let mut verdicts = Vec::new();
        let mut refusal = None;
        for link_type in Compiled::LINK_TYPES {
            let handle = Handle::dead(link_type)?;
            let verdict = match handle.compile(text, snaplen) {
                Ok(program) => Verdict::Program { program, tag: TagPlace::Metadata },
                Err(Refusal(message)) => {
                    refusal.get_or_insert_with(|| (handle, message.clone()));
                    Verdict::Never { message }
                }
            };
            verdicts.push((link_type, verdict));
        }
        let compiles =
            verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Program { .. }));
        if let Some((handle, message)) = refusal.filter(|_| !compiles) {
            let position = position::find(&handle, text, &tokens, &message);
            return Err(Error::Expression { message, position });
        }

        let mut compiled = Compiled { snaplen, verdicts, vlan_in_user_space: None };
        if tokens.iter().any(|token| token.text(text) == "vlan") {
            let live = in_private_namespace(LiveJob { text, snaplen });
            compiled.settle_vlan(live.map_err(|error| error.to_string()).and_then(|live| live.0));
        }
        Ok(compiled)
    }

    /// The pcap crate compiles with a netmask of 0, which makes `ip broadcast` match every host.
    /// Grammar: only `ip` right before `broadcast` asks for the netmask.
    fn refuse_ip_broadcast(&self, tokens: &[Token]) -> Result<(), Error> {
        let text = &self.0;
        let found = tokens.windows(2).find(|pair| match pair {
            [ip, broadcast] => ip.text(text) == "ip" && broadcast.text(text) == "broadcast",
            _ => false,
        });
        match found {
            Some([Token(place), ..]) => Err(Error::IpBroadcast { position: place.start }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The work of compiling an expression for Ethernet as a packet socket sees it, to be done in a
/// private network namespace.
#[derive(Debug)]
pub struct LiveJob<'a> {
    text: &'a str,
    snaplen: Snaplen,
}

impl LiveJob<'_> {
    /// Does it, on the calling thread.
    ///
    /// # Privileges
    /// `CAP_NET_RAW` in the thread's network namespace.
    #[must_use]
    pub fn run(self) -> LiveProgram {
        let compile = || {
            let handle = Handle::live().map_err(|error| error.to_string())?;
            handle.compile(self.text, self.snaplen).map_err(|Refusal(message)| message)
        };
        LiveProgram(compile())
    }
}

/// What came of a [`LiveJob`].
#[derive(Debug)]
pub struct LiveProgram(Result<Program, String>);

impl Compiled {
    /// Puts the program for the kernel in the place of the one for files, or says why there is
    /// none.
    fn settle_vlan(&mut self, live: Result<Program, String>) {
        let ethernet = self.verdicts.iter_mut().find_map(|(link_type, verdict)| match verdict {
            Verdict::Program { program, tag } if *link_type == LinkType::ETHERNET => {
                Some((program, tag))
            }
            _ => None,
        });
        let Some((program, tag)) = ethernet else { return };
        let usable = live.and_then(|live| match Verified::new(&live) {
            Ok(_) => Ok(live),
            Err(error) => Err(error.to_string()),
        });
        match usable {
            Ok(live) => *program = live,
            Err(reason) => {
                *tag = TagPlace::InFrame;
                self.vlan_in_user_space = Some(reason);
            }
        }
    }
}
