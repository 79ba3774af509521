//! Primary keys: made when they are needed, and gone again.

use crate::command::Command;
use crate::constants::{ALG_SHA256, DIGEST, HT_TRANSIENT, PT_NV_BUFFER_MAX, SESSION_AUDIT, ST_CREATION};
use crate::crypto;
use crate::error::Error;
use crate::public::{self, Name, Public, Template};
use crate::session::{Session, Use};
use crate::tpm::{Call, Entity, Loaded, Tpm};
use crate::transport::Transport;
use crate::wire::{Reader, Writer};

/// Where the TCG has certificates of endorsement keys put (EK Credential Profile 2.5, table 2): of the key after L-1, and
/// of that after L-2.
const RSA_CERTIFICATE: u32 = 0x01c0_0002;
const ECC_CERTIFICATE: u32 = 0x01c0_000a;

/// The longest certificate that is read.
const MOST_CERTIFICATE: u16 = 4096;

/// The endorsement key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ek {
    /// Its public area.
    pub public: Public,
    /// The manufacturer's certificate, as it is in the TPM: nobody has checked it, and it may be followed by other bytes.
    pub certificate: Option<Vec<u8>>,
}

/// A key that signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its public area.
    pub public: Public,
    /// Its name.
    pub name: Name,
}

/// Which application's key, and of which installation of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(pub(crate) crypto::Digest);

impl KeyId {
    /// The application `id` as it was installed for the `generation`th time: SHA-256 of the id and of the generation in
    /// eight bytes, big-endian. What is installed anew does not have the key of what was there before.
    #[must_use]
    pub fn new(id: &str, generation: u64) -> Self {
        Self(crypto::sha256(&[id.as_bytes(), &generation.to_be_bytes()]))
    }
}

impl<T: Transport> Tpm<T> {
    /// The endorsement key and its certificate: on P-256, unless there is a certificate for an RSA key alone.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn ek(&mut self) -> Result<Ek, Error> {
        let (template, certificate) = self.endorsement()?;
        let public = self.with_primary(&template, |_, key| Ok(key.public.clone()))?;
        Ok(Ek { public, certificate })
    }

    /// The attestation key.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn ak(&mut self) -> Result<KeyInfo, Error> {
        self.key_info(&public::attestation())
    }

    /// An application's key.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn app_key(&mut self, id: KeyId) -> Result<KeyInfo, Error> {
        self.key_info(&public::application(&id.0))
    }

    fn key_info(&mut self, template: &Template) -> Result<KeyInfo, Error> {
        let public = self.with_primary(template, |_, key| Ok(key.public.clone()))?;
        Ok(KeyInfo { name: public.name(), public })
    }

    /// Which template the endorsement key has, and its certificate.
    pub(crate) fn endorsement(&mut self) -> Result<(Template, Option<Vec<u8>>), Error> {
        let chunk = self.property(PT_NV_BUFFER_MAX)?;
        for (index, template) in [
            (ECC_CERTIFICATE, public::endorsement_ecc as fn() -> Template),
            (RSA_CERTIFICATE, public::endorsement_rsa),
        ] {
            if let Some(bytes) = self.nv_contents(index, MOST_CERTIFICATE, chunk)? {
                return Ok((template(), Some(bytes)));
            }
        }
        Ok((public::endorsement_ecc(), None))
    }

    /// Runs `act` with the key that comes of a template.
    pub(crate) fn with_primary<R>(
        &mut self,
        template: &Template,
        act: impl FnOnce(&mut Self, &Loaded) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let loaded = self.with_session(|tpm, session| tpm.primary(template, session))?;
        self.with(loaded.entity.handle, |tpm| act(tpm, &loaded))
    }

    fn primary(&mut self, template: &Template, session: &mut Session) -> Result<Loaded, Error> {
        let hierarchy = Entity::fixed(template.hierarchy);
        let entities = [&hierarchy];
        let call = Call::loading(Command::CreatePrimary, &entities, primary_parameters(template));
        let mut sessions = [Use { session, attributes: 0 }];
        let (handle, public) =
            self.loading(&call, &mut sessions, HT_TRANSIENT, |reader| read_primary(reader, template))?;
        Ok(Loaded { entity: Entity::named(handle, &public.name()), public })
    }

    /// Random bytes of the TPM's, which nobody on the bus has seen. It gives as many at once as its longest digest has.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn random(&mut self, count: u16) -> Result<Vec<u8>, Error> {
        self.with_session(|tpm, session| {
            let mut bytes = Vec::new();
            while bytes.len() < usize::from(count) {
                let left = usize::from(count) - bytes.len();
                let asked = u16::try_from(left.min(DIGEST)).unwrap_or(1);
                let call = Call::new(Command::GetRandom, &[], Writer::new().u16(asked));
                let attributes = SESSION_AUDIT | crate::constants::SESSION_ENCRYPT;
                let mut sessions = [Use { session, attributes }];
                let more = tpm.protected(&call, &mut sessions, |reader| {
                    reader.sized(usize::from(asked)).map(<[u8]>::to_vec).filter(|more| !more.is_empty())
                })?;
                bytes.extend(more);
            }
            Ok(bytes)
        })
    }
}

/// Parameters of `TPM2_CreatePrimary`: no authorisation value, no data of ours, the template, nothing about its creation.
pub(crate) fn primary_parameters(template: &Template) -> Writer {
    let sensitive = Writer::new().sized(&[]).sized(&[]).done();
    Writer::new().sized(&sensitive).sized(&template.bytes()).sized(&[]).u32(0)
}

/// What comes back but for the handle: the public area, how it was created, and the name, which has to be the area's.
pub(crate) fn read_primary(reader: &mut Reader<'_>, template: &Template) -> Option<Public> {
    let public = public::read(reader, template)?;
    read_creation(reader)?;
    (reader.sized(2 + DIGEST)? == public.name()).then_some(public)
}

/// Creation data, their hash, and the ticket for them, none of which is used.
pub(crate) fn read_creation(reader: &mut Reader<'_>) -> Option<()> {
    let data = reader.sized(512)?;
    (reader.sized(DIGEST)? == crypto::sha256(&[data])).then_some(())?;
    reader.expect_u16(ST_CREATION)?;
    reader.u32()?;
    reader.sized(64).map(drop)
}

/// A list of one PCR bank, SHA-256, with these PCRs of 24 (`TPML_PCR_SELECTION`).
pub(crate) fn selection(pcrs: &[u8]) -> Result<Vec<u8>, Error> {
    let mut bits = [0_u8; 3];
    for pcr in pcrs {
        let byte = bits.get_mut(usize::from(pcr / 8)).ok_or(Error::Argument("there are 24 pcrs"))?;
        *byte |= 1 << (pcr % 8);
    }
    Ok(Writer::new().u32(1).u16(ALG_SHA256).u8(3).bytes(&bits).done())
}
