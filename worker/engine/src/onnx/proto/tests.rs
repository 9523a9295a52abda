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

/// Protobuf of C++ keeps 32 bits of a tag, so that these five bytes are field 7 to ONNX Runtime.
#[test]
fn a_tag_that_others_read_in_another_way_is_refused() {
    let model = field(7, &field(5, &tensor("a")));
    assert_eq!(model[0], 0x3a);
    for tag in [
        [0xba, 0x80, 0x80, 0x80, 0x10].as_slice(),
        &[0xba, 0x80, 0x80, 0x80, 0x80, 0x00],
        &[0xba, 0x00],
        &[0xba, 0x80, 0x80, 0x80, 0x00],
    ] {
        let hidden = [tag, &model[1..]].concat();
        assert!(external_tensors(&hidden).is_err(), "{tag:02x?} at the top");
        let inside = field(7, &[tag, &[0]].concat());
        assert!(external_tensors(&inside).is_err(), "{tag:02x?} inside the graph");
    }
    for tag in [0x00, 0x02, 0x05] {
        assert!(external_tensors(&[tag, 0, 0, 0, 0]).is_err(), "field 0");
    }
    let largest = [0xf8, 0xff, 0xff, 0xff, 0x0f, 0x00];
    assert_eq!(external_tensors(&[largest.as_slice(), &model].concat()).unwrap().len(), 1);
}

#[test]
fn a_location_that_is_an_address_is_refused() {
    for mark in ["*/_ORT_MEM_ADDR_/*", "*/_ORT_NATIVE_ENDIAN_MEM_ADDR_/*"] {
        assert!(external_tensors(&field(7, &field(5, &tensor(mark)))).is_err(), "{mark}");
    }
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
