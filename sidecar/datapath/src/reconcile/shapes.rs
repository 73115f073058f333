//! Which shapes of services are in use: those that are not one address with one port.

use std::cmp::Reverse;

use tollgate_common::{limits::SHAPES, service::Scope, tables::Tables};

use super::error::PlanError;
use crate::{model::Model, tables};

/// The scopes of the services that are not one address with one port, of each family, and whether any port is theirs:
/// those that name more go first.
pub(super) fn of(model: &Model) -> Result<[Vec<(Scope, bool)>; 2], PlanError> {
    let mut shapes = [Vec::new(), Vec::new()];
    for service in &model.services {
        let scope = tables::key(service.vip).scope();
        let shape = (scope, service.vip.port == 0);
        let of_family = &mut shapes[usize::from(!scope.is_v4())];
        let is_exact = service.vip.is_one() && service.vip.port != 0;
        if !is_exact && !of_family.contains(&shape) {
            of_family.push(shape);
        }
    }
    for of_family in &mut shapes {
        of_family.sort_by_key(|(scope, any_port)| (Reverse(*scope), *any_port));
        if of_family.len() > SHAPES {
            return Err(PlanError::NoShape(of_family.len()));
        }
    }
    Ok(shapes)
}

/// Writes the shapes to the place that is not in use, and says that it is. Who looks at the other one meanwhile is done
/// before that is written again: a grace period comes with each model.
pub(super) fn write(tables: &Tables, shapes: &[Vec<(Scope, bool)>; 2]) {
    let other = tables.shaped.load() & 1 ^ 1;
    let mut shaped = other;
    let families = tables.shapes[other as usize].iter().zip(shapes);
    for (family, (places, shapes)) in families.enumerate() {
        if !shapes.is_empty() {
            shaped |= 1 << (32 + family);
        }
        let mut shapes = shapes.iter();
        for place in places {
            match shapes.next() {
                Some((scope, any_port)) => place.set(*scope, *any_port),
                None => place.tag.store(0),
            }
        }
    }
    tables.shaped.store(shaped);
}
