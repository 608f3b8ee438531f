//! Which kernels multiply fastest on the devices of this machine: what `glmtune bench kernels` has measured, in a file
//! of the user's cache folder. A device, a type or sizes that it does not have are left to the backend.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use burn::tensor::DType;
use glmtune_model::checkpoint::AtomicFile;
use glmtune_model::error::{Error, Result};
use glmtune_model::files::{self, Limit};
use glmtune_model::layers::ops::linear::kernels::{KernelTable, ProductClass, set_kernels};
use serde::{Deserialize, Serialize};

use crate::cache_folder::cache_folder;

/// What another release has measured is not trusted: its kernels are others.
const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// A kernel is taken in place of the backend's own choice if it needs at most this part of its time.
const WORTH_IT: f64 = 0.97;

/// What was measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Measurements {
    /// The release that measured it.
    glmtune: String,
    products: Vec<Product>,
    /// What was at work when this was written: if nothing follows, it has ended the process.
    begun: Option<(Place, String)>,
}

/// A device, a type and the sizes of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Backend and device, in words.
    pub device: String,
    /// The type.
    pub dtype: String,
    /// The sizes.
    #[serde(flatten)]
    pub class: ProductClass,
}

/// The kernels that were tried for a product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Product {
    #[serde(flatten)]
    place: Place,
    /// Seconds by the backend's own choice.
    own_seconds: Option<f64>,
    /// Seconds by each kernel; none where it cannot compute it, or not rightly.
    seconds: BTreeMap<String, Option<f64>>,
}

impl Product {
    /// The kernel to be used; none if the backend's own choice is about as good.
    fn best(&self) -> Option<&str> {
        let measured = self.seconds.iter();
        let measured = measured.filter_map(|(name, seconds)| Some((name, (*seconds)?)));
        let (name, seconds) = measured.min_by(|a, b| a.1.total_cmp(&b.1))?;
        (seconds <= WORTH_IT * self.own_seconds?).then_some(name)
    }
}

impl Measurements {
    /// What the user's cache folder has; nothing if there is none, or of another release.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read() -> Result<Self> {
        let new = || Self {
            glmtune: RELEASE.to_string(),
            ..Self::default()
        };
        let Some(path) = path() else {
            return Ok(new());
        };
        let Some(bytes) = files::read_if_present(&path, Limit::STATE)? else {
            return Ok(new());
        };
        let found: Self = files::json(&bytes, &path)?;
        Ok(match found.glmtune == RELEASE {
            true => found,
            false => new(),
        })
    }

    /// Writes what was noted.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self) -> Result<()> {
        let Some(path) = path() else {
            return Ok(());
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        }
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| Error::json(&path, error))?;
        AtomicFile::write(&path, &bytes)
    }

    /// Whether a process ended while it tried a kernel, which is then not tried again.
    pub fn was_cut_off(&self) -> bool {
        self.begun.is_some()
    }

    /// Notes that the kernel that was at work has ended its process.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn give_up_begun(&mut self) -> Result<()> {
        match self.begun.take() {
            Some((place, name)) => self.finish(&place, &name, None),
            None => Ok(()),
        }
    }

    /// Whether a kernel was tried for a product.
    pub fn was_tried(&self, place: &Place, name: &str) -> bool {
        self.get(place)
            .is_some_and(|product| product.seconds.contains_key(name))
    }

    /// Seconds of the backend's own choice for a product, if they were measured.
    pub fn own_seconds(&self, place: &Place) -> Option<f64> {
        self.get(place)?.own_seconds
    }

    /// Notes how long the backend's own choice takes.
    pub fn set_own(&mut self, place: &Place, seconds: f64) {
        self.get_mut(place).own_seconds = Some(seconds);
    }

    /// A kernel is about to be tried.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn begin(&mut self, place: &Place, name: &str) -> Result<()> {
        self.begun = Some((place.clone(), name.to_string()));
        self.write()
    }

    /// A kernel was tried: how long it takes, or that it does not do.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn finish(&mut self, place: &Place, name: &str, seconds: Option<f64>) -> Result<()> {
        let product = self.get_mut(place);
        product.seconds.insert(name.to_string(), seconds);
        self.begun = None;
        // That one does not do is on the disk as what was begun, until the next one is.
        match seconds {
            Some(_) => self.write(),
            None => Ok(()),
        }
    }

    fn get(&self, place: &Place) -> Option<&Product> {
        let mut products = self.products.iter();
        products.find(|product| product.place == *place)
    }

    fn get_mut(&mut self, place: &Place) -> &mut Product {
        let known = self.products.iter();
        let index = known.take_while(|product| product.place != *place).count();
        if index == self.products.len() {
            self.products.push(Product {
                place: place.clone(),
                own_seconds: None,
                seconds: BTreeMap::new(),
            });
        }
        &mut self.products[index]
    }

    /// The best kernels of a device.
    fn table(&self, device: &str) -> KernelTable {
        let of_device = self
            .products
            .iter()
            .filter(|product| product.place.device == device);
        let best = of_device.filter_map(|product| {
            let dtype = dtype(&product.place.dtype)?;
            Some(((dtype, product.place.class), product.best()?.to_string()))
        });
        best.collect()
    }
}

/// From here on, the devices of this process compute products by the kernels that were measured on them; several
/// devices must be alike.
pub fn install(devices: &[String]) {
    let Some((first, others)) = devices.split_first() else {
        return;
    };
    if others.iter().any(|other| other != first) {
        return;
    }
    match Measurements::read() {
        Ok(found) => {
            let table = found.table(first);
            tracing::info!("{first}: measured kernels for {} products", table.len());
            set_kernels(table);
        }
        // Without it everything is computed, only slower.
        Err(error) => tracing::warn!("measured kernels are not used: {error}"),
    }
}

fn path() -> Option<PathBuf> {
    cache_folder("kernels.json")
}

fn dtype(name: &str) -> Option<DType> {
    let mut all = [DType::F32, DType::F16, DType::BF16].into_iter();
    all.find(|dtype| dtype.name() == name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use glmtune_model::layers::ops::linear::kernels::Pass;

    use super::*;

    #[test]
    fn the_fastest_kernel_is_taken_where_it_is_worth_it() {
        let place = |input| Place {
            device: "d".to_string(),
            dtype: "f16".to_string(),
            class: ProductClass::of(Pass::Forward, 100, input, 8),
        };
        let mut found = Measurements::default();
        for (input, seconds) in [(1, 0.5), (2, 0.99)] {
            found.set_own(&place(input), 1.0);
            let tried = &mut found.get_mut(&place(input)).seconds;
            tried.insert("slow".to_string(), Some(2.0));
            tried.insert("wrong".to_string(), None);
            tried.insert("fast".to_string(), Some(seconds));
        }
        let table = found.table("d");
        assert_eq!(table.len(), 1);
        assert_eq!(table[&(DType::F16, place(1).class)], "fast");
        assert!(found.table("e").is_empty());
        let text = serde_json::to_string(&found).unwrap();
        let read: Measurements = serde_json::from_str(&text).unwrap();
        assert_eq!(read.products, found.products);
        assert!(read.was_tried(&place(2), "wrong") && !read.was_tried(&place(2), "x"));
    }
}
