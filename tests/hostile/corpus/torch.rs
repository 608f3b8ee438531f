//! Archives as `torch.save` writes them, small.

/// An archive of stored entries.
pub fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in files {
        let header = (bytes.len() as u32).to_le_bytes();
        let sizes = (data.len() as u32).to_le_bytes().repeat(2);
        let lengths = [(name.len() as u16).to_le_bytes(), [0, 0]].concat();
        let local = [
            b"PK\x03\x04",
            &[0; 14][..],
            &sizes,
            &lengths,
            name.as_bytes(),
            data,
        ];
        bytes.extend(local.concat());
        let central = [
            b"PK\x01\x02",
            &[0; 16][..],
            &sizes,
            &lengths,
            &[0; 10],
            &header,
        ];
        directory.extend([&central.concat(), name.as_bytes()].concat());
    }
    let start = (bytes.len() as u32).to_le_bytes();
    let count = (files.len() as u16).to_le_bytes();
    let size = (directory.len() as u32).to_le_bytes();
    let end = [
        b"PK\x05\x06",
        &[0; 4][..],
        &count,
        &count,
        &size,
        &start,
        &[0; 2],
    ];
    [bytes, directory, end.concat()].concat()
}

/// The entries of such an archive; nothing if it is damaged.
pub fn entries(bytes: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while rest.starts_with(b"PK\x03\x04") {
        let size = u32::from_le_bytes(rest.get(18..22)?.try_into().ok()?) as usize;
        let name_len = usize::from(u16::from_le_bytes(rest.get(26..28)?.try_into().ok()?));
        let name = std::str::from_utf8(rest.get(30..30 + name_len)?).ok()?;
        let data = rest.get(30 + name_len..)?.get(..size)?;
        found.push((name.to_owned(), data.to_vec()));
        rest = &rest[30 + name_len + size..];
    }
    Some(found)
}

/// A state dict of float32 tensors, each in a storage of its own, and one transposed view of the first.
pub fn state_dict(tensors: &[(&str, [usize; 2], Vec<f32>)]) -> Vec<u8> {
    let mut pickle = b"\x80\x02ccollections\nOrderedDict\nq\0)Rq\x01(".to_vec();
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (number, (name, shape, values)) in tensors.iter().enumerate() {
        view(
            &mut pickle,
            name,
            number,
            values.len(),
            *shape,
            [shape[1], 1],
        );
        let data = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        files.push((format!("archive/data/{number}"), data));
    }
    if let Some((_, [rows, columns], values)) = tensors.first() {
        view(
            &mut pickle,
            "transposed",
            0,
            values.len(),
            [*columns, *rows],
            [1, *columns],
        );
    }
    pickle.extend(b"u}b.");
    let mut all: Vec<(&str, &[u8])> = vec![
        ("archive/data.pkl", &pickle),
        ("archive/byteorder", b"little"),
    ];
    all.extend(
        files
            .iter()
            .map(|(name, data)| (name.as_str(), data.as_slice())),
    );
    archive(&all)
}

fn view(
    pickle: &mut Vec<u8>,
    name: &str,
    storage: usize,
    len: usize,
    shape: [usize; 2],
    strides: [usize; 2],
) {
    text(pickle, name);
    pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(pickle, "storage");
    pickle.extend(b"ctorch\nFloatStorage\n");
    text(pickle, &storage.to_string());
    text(pickle, "cpu");
    number(pickle, len);
    pickle.extend(b"tQK\0");
    for pair in [shape, strides] {
        pair.into_iter().for_each(|size| number(pickle, size));
        pickle.push(0x86);
    }
    pickle.extend(b"\x89h\0)RtR");
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.as_bytes());
}

fn number(pickle: &mut Vec<u8>, number: usize) {
    pickle.push(b'J');
    pickle.extend((number as u32).to_le_bytes());
}
