use std::{
    borrow::Cow,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::{Options, Resolution};

/// A description of an interface.
#[derive(Debug, Clone, Copy)]
pub struct Interface<'a> {
    /// Its number within the section, which packets refer to.
    pub number: u32,
    /// `LINKTYPE_` value of its packets.
    pub link_type: u16,
    /// Most bytes kept of a packet; 0 for no limit.
    pub snaplen: u32,
    /// What its timestamps count (`if_tsresol`, or the magic of a classic file). The reader has
    /// converted them already.
    pub resolution: Resolution,
    /// All options, uninterpreted.
    pub options: Options<'a>,
}

impl<'a> Interface<'a> {
    /// Name (`if_name`).
    #[must_use]
    pub fn name(&self) -> Option<Cow<'a, str>> {
        self.options.string(2)
    }

    /// Free text (`if_description`).
    #[must_use]
    pub fn description(&self) -> Option<Cow<'a, str>> {
        self.options.string(3)
    }

    /// IPv4 addresses and their netmasks (`if_IPv4addr`).
    pub fn ipv4(&self) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr)> {
        self.options.filter(|option| option.code == 4).filter_map(|option| {
            let [a, b, c, d, e, f, g, h] = option.value.try_into().ok()?;
            Some((Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h)))
        })
    }

    /// IPv6 addresses and the length of their prefix in bits (`if_IPv6addr`).
    pub fn ipv6(&self) -> impl Iterator<Item = (Ipv6Addr, u8)> {
        self.options.filter(|option| option.code == 5).filter_map(|option| {
            let (address, prefix) = option.value.split_first_chunk::<16>()?;
            let [prefix] = prefix else { return None };
            Some((Ipv6Addr::from(*address), *prefix))
        })
    }

    /// Link-layer address of six bytes (`if_MACaddr`).
    #[must_use]
    pub fn mac(&self) -> Option<[u8; 6]> {
        self.options.array(6)
    }

    /// Link-layer address of eight bytes (`if_EUIaddr`).
    #[must_use]
    pub fn eui(&self) -> Option<[u8; 8]> {
        self.options.array(7)
    }

    /// Speed in bits a second (`if_speed`).
    #[must_use]
    pub fn speed(&self) -> Option<u64> {
        self.options.u64(8)
    }

    /// Speed of sending in bits a second (`if_txspeed`).
    #[must_use]
    pub fn txspeed(&self) -> Option<u64> {
        self.options.u64(16)
    }

    /// Speed of receiving in bits a second (`if_rxspeed`).
    #[must_use]
    pub fn rxspeed(&self) -> Option<u64> {
        self.options.u64(17)
    }

    /// Capture expression (`if_filter`), where it is in text form.
    #[must_use]
    pub fn filter(&self) -> Option<Cow<'a, str>> {
        match self.options.value(11)? {
            [0, text @ ..] => Some(super::options::text(text)),
            _ => None,
        }
    }

    /// Operating system of the interface's machine (`if_os`).
    #[must_use]
    pub fn os(&self) -> Option<Cow<'a, str>> {
        self.options.string(12)
    }

    /// Length of the frame check sequence (`if_fcslen`), in a unit that writers do not agree on.
    #[must_use]
    pub fn fcslen(&self) -> Option<u8> {
        self.options.array(13).map(|[length]| length)
    }

    /// Seconds that were to be added to each timestamp (`if_tsoffset`); the reader has added them.
    #[must_use]
    pub fn tsoffset(&self) -> Option<i64> {
        self.options.u64(14).map(u64::cast_signed)
    }

    /// What kind of device it is (`if_hardware`).
    #[must_use]
    pub fn hardware(&self) -> Option<Cow<'a, str>> {
        self.options.string(15)
    }

    /// Name of the time zone (`if_iana_tzname`).
    #[must_use]
    pub fn time_zone(&self) -> Option<Cow<'a, str>> {
        self.options.string(18)
    }

    /// Comments, in their order.
    pub fn comments(&self) -> impl Iterator<Item = Cow<'a, str>> {
        self.options.comments()
    }
}
