use proptest::prelude::*;

use super::*;

fn part(ids: &[u128]) -> Vec<(TaskId, v1::Task)> {
    let task = |id: &u128| {
        let id = TaskId::from_u128(*id);
        (id, v1::Task { task_id: id.to_string(), ..v1::Task::default() })
    };
    ids.iter().map(task).collect()
}

/// The part of a list that comes after `older_than`, at most `size`, and where it goes on.
fn page(ids: &[u128], older_than: Option<u128>, size: usize) -> (Vec<u128>, Option<u128>) {
    let rest: Vec<u128> = ids.iter().copied().filter(|id| older_than.is_none_or(|end| *id < end)).collect();
    let shown = rest[..rest.len().min(size)].to_vec();
    let next = (rest.len() > size).then(|| shown[size - 1]);
    (shown, next)
}

proptest! {
    /// Page by page both sources are shown whole, in order, once.
    #[test]
    fn pages_of_two_sources_make_one_list(
        ids in prop::collection::btree_map(1_u128..200, any::<bool>(), 0..60),
        size in 1_usize..9,
    ) {
        let of = |which: bool| -> Vec<u128> {
            ids.iter().rev().filter(|(_, source)| **source == which).map(|(id, _)| *id).collect()
        };
        let (first, second) = (of(true), of(false));
        let mut seen = Vec::new();
        let mut token = None;
        for _ in 0..200 {
            let (a, a_next) = page(&first, token, size);
            let (b, b_next) = page(&second, token, size);
            let next = |id: Option<u128>| id.map(TaskId::from_u128);
            let listed = merge(part(&a), next(a_next), part(&b), next(b_next), size);
            prop_assert!(listed.tasks.len() <= size);
            seen.extend(listed.tasks.iter().map(|task| task.task_id.parse::<TaskId>().unwrap().as_u128()));
            if listed.next_page_token.is_empty() {
                break;
            }
            token = Some(listed.next_page_token.parse::<TaskId>().unwrap().as_u128());
        }
        prop_assert_eq!(seen, ids.keys().rev().copied().collect::<Vec<_>>());
    }
}

#[test]
fn a_token_that_is_none_is_refused() {
    assert_eq!(page_token("nonsense").unwrap_err().field, "page_token");
    assert_eq!(page_token(""), Ok(None));
}

#[test]
fn an_unknown_state_is_refused_by_its_place() {
    let request = v1::ListRequest { states: vec![1, 99], ..v1::ListRequest::default() };
    assert_eq!(filter(request).unwrap_err().field, "states[1]");
}
