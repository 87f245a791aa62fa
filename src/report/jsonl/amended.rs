//! What a reader makes of the lines of a timeline that grows.

use std::collections::BTreeMap;

use serde_json::Value;

/// The lines with their amendments applied, the events numbered in order of time, as a finished output has them; the other lines follow.
///
/// # Panics
/// An event is amended that is not there, or told twice.
pub(crate) fn applied(stream: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let mut events: BTreeMap<u64, Value> = BTreeMap::new();
    let mut others = Vec::new();
    for mut line in stream {
        let kind = line["type"].as_str().expect("a type").to_owned();
        match (&kind[..], line["id"].as_u64()) {
            ("amended", Some(id)) => {
                let amended = line["as"].take();
                let known = if amended.is_null() { events.remove(&id) } else { events.insert(id, amended) };
                assert!(known.is_some(), "event {id} is amended, and is not there");
            }
            ("call" | "segment" | "transition" | "timer" | "icmp" | "link" | "kernel", Some(id)) => {
                assert!(events.insert(id, line).is_none(), "event {id} is told twice");
            }
            _ => others.push(line),
        }
    }
    let first = events.values().filter_map(|event| event["order"][0].as_str()).min().unwrap_or_default().to_owned();
    let mut in_order: Vec<(u64, Value)> = events.into_iter().collect();
    in_order.sort_by_key(|(id, event)| {
        let order = &event["order"];
        let at = order[0].as_str().unwrap_or(&first).to_owned();
        (at, order[1].as_u64(), order[2].as_u64(), *id)
    });
    let numbers: BTreeMap<u64, u64> = in_order.iter().map(|(id, _)| *id).zip(0..).collect();
    let mut lines: Vec<Value> = in_order.into_iter().map(|(_, event)| numbered(event, &numbers)).collect();
    lines.extend(others);
    lines
}

/// An event with the numbers of a finished output in place of the ids of birth.
fn numbered(mut event: Value, numbers: &BTreeMap<u64, u64>) -> Value {
    event.as_object_mut().expect("an object").remove("order");
    let of_state = event["type"] == "transition" || event["type"] == "timer";
    let names = [
        "/id",
        "/cause/call",
        "/cause/calls",
        "/cause/of",
        "/cause/link",
        "/segment",
        "/edges/sent",
        "/edges/brought_by",
        "/edges/completed_by",
    ];
    for pointer in names.iter().chain(of_state.then_some(&"/cause")) {
        let Some(value) = event.pointer_mut(pointer) else { continue };
        if let Some(id) = value.as_u64() {
            *value = numbers.get(&id).map_or(Value::Null, |number| (*number).into());
        }
        if let Some(ids) = value.as_array_mut() {
            let mut known: Vec<u64> = ids.iter().filter_map(|id| numbers.get(&id.as_u64()?).copied()).collect();
            known.sort_unstable();
            *ids = known.into_iter().map(Value::from).collect();
        }
    }
    event
}
