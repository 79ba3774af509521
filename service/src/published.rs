//! What releases measure, read once.
//!
//! A published release never changes, but for whether it is withdrawn, and that is looked up in each round. So its
//! reference values are read from their text once and kept, for all catalogs together up to so many bytes of text; beyond,
//! all are let go and those that devices still run come back by themselves.

use crate::refusal::Refusal;
use crate::store::releases;
use evidence::appraise::Published;
use evidence::reference::ReferenceValues;
use service_api::Name;
use service_api::fleet::Release;
use sqlx::AnyConnection;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Text of all that is kept, in bytes; read it takes about as much.
const TEXT_MAX: usize = 32 << 20;

/// What is kept.
#[derive(Debug, Default)]
pub struct PublishedValues(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    values: HashMap<(Name, Name), Arc<ReferenceValues>>,
    text: usize,
}

impl PublishedValues {
    /// The releases of a catalog with their values: `states` says each one's name, and whether it is withdrawn.
    ///
    /// # Errors
    /// The database, or what it has cannot be read.
    pub async fn of(
        &self,
        connection: &mut AnyConnection,
        catalog: &Name,
        states: &[(Name, bool)],
    ) -> Result<Vec<Published>, Refusal> {
        let mut all = Vec::with_capacity(states.len());
        for (name, withdrawn) in states {
            let values = match self.kept(catalog, name) {
                Some(values) => values,
                None => {
                    let found = releases::list(connection, catalog, Some(name)).await?;
                    self.keep(catalog, found.first().ok_or_else(|| Refusal::missing("such release"))?)?
                }
            };
            all.push(Published { name: name.to_string(), withdrawn: *withdrawn, values });
        }
        Ok(all)
    }

    fn kept(&self, catalog: &Name, name: &Name) -> Option<Arc<ReferenceValues>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.values.get(&(catalog.clone(), name.clone())).cloned()
    }

    fn keep(&self, catalog: &Name, release: &Release) -> Result<Arc<ReferenceValues>, Refusal> {
        let damaged = || Refusal::unavailable("the reference values of a release cannot be read");
        let text = serde_json::to_vec(&release.reference_values).map_err(|_| damaged())?;
        let values = Arc::new(ReferenceValues::read(&text).map_err(|_| damaged())?);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.text + text.len() > TEXT_MAX {
            *kept = Kept::default();
        }
        if kept.values.insert((catalog.clone(), release.name.clone()), values.clone()).is_none() {
            kept.text += text.len();
        }
        Ok(values)
    }
}
