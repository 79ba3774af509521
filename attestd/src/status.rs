//! `os.gabion.Identity`: how the device stands with its service. Boxes of the system alone may ask: the claim code makes whoever
//! has it the owner.

use bus::interfaces::identity::*;
use bus::server::{Answer, Call};

use crate::identity::DEVICE;
use crate::serve::Serve;
use crate::state::{NO_SERVICE, now_s};

impl Handler for Serve {
    fn get_status(&mut self, call: Call<'_, GetStatus>) -> Answer {
        let state = self.state();
        let service = state.service.borrow().as_ref().map(|service| service.address().into());
        let kept = state.kept.borrow();
        let mut problems: Vec<_> = state.failure.borrow().iter().map(|line| line.clone().into()).collect();
        if service.is_none() {
            problems = vec![NO_SERVICE.into()];
        }
        let expires_s = kept.certificate(DEVICE, 0, now_s()).map(|held| held.expires_s);
        let expires_us =
            expires_s.map(|end| i64::try_from(end.saturating_mul(1_000_000)).unwrap_or(i64::MAX));
        call.reply(&GetStatusReply {
            service,
            device: kept.device.as_ref().map(|device| device.to_string().into()),
            claim_code: kept.claim_code.as_ref().map(|code| code.as_str().to_owned().into()),
            expires_us,
            problems,
        })
    }
}
