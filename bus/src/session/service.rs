//! `org.varlink.service`: what a connection answers about itself.

use crate::interface::Interface;
use crate::interfaces::service::{self, Error, Handler};
use crate::server::{Answer, Call};

/// What `org.varlink.service.GetInfo` says of a server.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Who made it.
    pub vendor: &'static str,
    /// Its name.
    pub product: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Where to read about it.
    pub url: &'static str,
}

/// `org.varlink.service` of one connection.
pub(super) struct Service<'s> {
    pub(super) about: &'s About,
    pub(super) granted: &'static Interface,
}

impl Handler for Service<'_> {
    fn get_info(&mut self, call: Call<'_, service::GetInfo>) -> Answer {
        let about = self.about;
        call.reply(&service::GetInfoReply {
            vendor: about.vendor.into(),
            product: about.product.into(),
            version: about.version.into(),
            url: about.url.into(),
            interfaces: vec![service::INTERFACE.name.into(), self.granted.name.into()],
        })
    }

    fn get_interface_description(
        &mut self,
        call: Call<'_, service::GetInterfaceDescription>,
        parameters: service::GetInterfaceDescriptionParameters<'_>,
    ) -> Answer {
        let known = [&service::INTERFACE, self.granted];
        match known.into_iter().find(|interface| interface.name == parameters.interface) {
            Some(interface) => call
                .reply(&service::GetInterfaceDescriptionReply { description: interface.description.into() }),
            None => call.fail(&Error::InterfaceNotFound { interface: parameters.interface.into_owned() }),
        }
    }
}
