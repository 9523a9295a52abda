//! Only well-formed models are read, and every external tensor is found.
use proptest::prelude::*;

use super::external_tensors;

fn field(number: u64, inner: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::try_from(number << 3 | 2).unwrap_or(0), u8::try_from(inner.len()).unwrap()];
    if number > 15 {
        out = vec![u8::try_from((number << 3 | 2) & 0x7f | 0x80).unwrap(), u8::try_from(number >> 4).unwrap(), out[1]];
    }
    out.extend_from_slice(inner);
    out
}

fn entry(key: &str, value: &str) -> Vec<u8> {
    field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
}

fn tensor(location: &str) -> Vec<u8> {
    [field(8, b"w"), entry("location", location), entry("offset", "4096"), entry("length", "8"), vec![0x70, 1]].concat()
}

#[test]
fn tensors_are_found_wherever_they_hide() {
    let initializer = field(7, &field(5, &tensor("a")));
    let constant = field(7, &field(1, &field(5, &field(5, &tensor("b")))));
    let subgraph = field(7, &field(1, &field(5, &field(6, &field(5, &tensor("c"))))));
    let function = field(25, &field(7, &field(5, &field(5, &tensor("d")))));
    let sparse = field(7, &field(15, &field(1, &tensor("e"))));
    let found = external_tensors(&[initializer, constant, subgraph, function, sparse].concat()).unwrap();
    let locations: Vec<&str> = found.iter().map(|t| t.location.as_str()).collect();
    assert_eq!(locations, ["a", "b", "c", "d", "e"]);
    assert_eq!((found[0].offset, found[0].length, found[0].name.as_str()), (4096, Some(8), "w"));
}

#[test]
fn a_tensor_with_its_data_inside_is_not_external() {
    let inline = field(7, &field(5, &[field(8, b"w"), field(9, &[0; 8])].concat()));
    assert_eq!(external_tensors(&inline), Ok(vec![]));
}

#[test]
fn an_external_mark_without_a_location_counts() {
    let marked = field(7, &field(5, &[0x70, 1]));
    assert_eq!(external_tensors(&marked).unwrap()[0].location, "");
}

#[test]
fn what_is_cut_off_is_refused() {
    let model = field(7, &field(5, &tensor("a")));
    for end in 1..model.len() {
        assert!(external_tensors(&model[..end]).is_err(), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = external_tensors(&bytes);
    }
}
