//! How fast values go where others are: between the host and its devices, between devices, and between processes.

use std::time::Instant;

use burn::tensor::{Bytes, Tensor, TensorData};
use glmtune_model::architecture::through_host;
use glmtune_training::TrainingBackend;
use glmtune_training::parallel::devices::ops::Collectives;
use glmtune_training::parallel::processes::ranks::{Lane, Ranks, reduce_scatter};

use super::measured::Found;
use super::place::Place;
use crate::commands::error::Result;

/// Elements of a transfer, float32.
const ELEMENTS: usize = 16 << 20;
const BYTES: f64 = (ELEMENTS * size_of::<f32>()) as f64;
/// Exchanges of processes, the same number in all of them.
const EXCHANGES: usize = 8;

/// Measures what this process can do alone.
///
/// # Errors
/// If a device fails.
pub fn measure<B: TrainingBackend>(place: &Place<'_, B>) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    let several = place.devices.len() > 1;
    for (index, device) in place.devices.iter().enumerate() {
        let name = |direction: &str| match several {
            true => format!("{direction} {index}"),
            false => direction.to_string(),
        };
        let clock = place.clock.share(3 * (place.devices.len() - index) + 1);
        // On the CPU it is no transfer: the values are taken over where they are.
        if !place.selected[index].is_cpu() {
            let values = || Ok(TensorData::new(vec![1.0f32; ELEMENTS], [ELEMENTS]));
            let name = name("host to device");
            let upload = clock.share(2).repeat_with(&name, values, |values| {
                let tensor = Tensor::<B, 1>::from_data(values, device);
                place.wait()?;
                drop(tensor);
                Ok(())
            })?;
            all.push(upload.bytes(BYTES));
        }
        let tensor = Tensor::<B, 1>::ones([ELEMENTS], device);
        let download = clock.repeat(&name("device to host"), || {
            drop(tensor.clone().into_data());
            Ok(())
        })?;
        all.push(download.bytes(BYTES));
        if index > 0 {
            let from = Tensor::<B, 1>::ones([ELEMENTS], place.device());
            let name = format!("device 0 to device {index}");
            let found = clock.repeat(&name, || {
                drop(through_host(&from, device));
                place.wait()
            })?;
            all.push(found.bytes(BYTES));
        }
    }
    if several && B::glm_collectives() == Collectives::There {
        all.push(sum(place)?);
    }
    Ok(all)
}

/// Sums over all devices, as gradients are; the bytes are those that every device must send at least.
fn sum<B: TrainingBackend>(place: &Place<'_, B>) -> Result<Found> {
    let devices = place.devices.iter();
    let rows = devices.map(|device| {
        let row = Tensor::<B, 1>::zeros([ELEMENTS], device);
        row.into_primitive().tensor()
    });
    let mut rows: Vec<_> = rows.collect();
    let found = place.clock.repeat("sum over the devices", || {
        let (Ok(sums) | Err(sums)) = B::glm_begin_sums(std::mem::take(&mut rows));
        B::glm_await_sums(place.devices);
        rows = sums;
        place.wait()
    })?;
    let count = place.devices.len() as f64;
    Ok(found.bytes(BYTES * 2.0 * (count - 1.0) / count))
}

/// Measures what the processes of a run can do together; each finds the same. The bytes are those that a process sends.
///
/// # Errors
/// If they cannot reach each other.
pub fn between(ranks: &dyn Ranks) -> Result<Vec<Found>> {
    let elements = ELEMENTS.next_multiple_of(ranks.size());
    let values = vec![1.0f32; elements];
    // All processes must do it equally often, whatever time each has left.
    let exchange = |name: &str, work: &dyn Fn() -> Result<()>| -> Result<Found> {
        let before = ranks.bytes_sent();
        let mut seconds = Vec::with_capacity(EXCHANGES);
        for _ in 0..EXCHANGES {
            let started = Instant::now();
            work()?;
            seconds.push(started.elapsed().as_secs_f64());
        }
        let sent = (ranks.bytes_sent() - before) as f64 / EXCHANGES as f64;
        Ok(Found::of(name, &seconds).bytes(sent))
    };
    let scatter = exchange("reduce and scatter", &|| {
        drop(reduce_scatter(ranks, &values)?);
        Ok(())
    })?;
    let part = &values[..elements / ranks.size()];
    let gather = exchange("gather", &|| {
        let part = Bytes::from_elems(part.to_vec());
        drop(ranks.gather(Lane::Steps, part).wait()?);
        Ok(())
    })?;
    Ok(vec![scatter, gather])
}
