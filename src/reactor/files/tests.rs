use std::fs;

use super::*;
use crate::content::{Attributes, Content, HashKind, OnConflict};
use crate::limits::BLOCK_BYTES_MIN;
use crate::storage::{ShareRules, WriteSettings};
use crate::wire::v1::BlockHasher;

const BLOCK: usize = BLOCK_BYTES_MIN as usize;
const ATTRIBUTES: Attributes = Attributes { modified_ns: 5, is_executable: false };

struct Scene {
    files: Files,
    paths: Paths,
    bytes: Vec<u8>,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut shared = SharedFolder::open(folder.path()).unwrap();
        let (disk_reserve_bytes, on_conflict) = (Some(0), OnConflict::Refuse);
        let (sync, keeps_partials) = (false, true);
        shared.set(WriteSettings { sync, disk_reserve_bytes, on_conflict, keeps_partials });
        let tree = Rc::new(SharedTree::of(&shared, ShareRules::default()));
        let files = Files::new(tree, Some(shared), None);
        let bytes = (0..3 * BLOCK + 1).map(|n| (n % 255) as u8 + 1).collect();
        Self { files, paths: Paths::default(), bytes, folder }
    }

    fn path(&mut self, name: &str) -> PathId {
        self.paths.intern_name(FileName::new(name).unwrap())
    }

    fn content(&self) -> Content {
        let mut hasher = BlockHasher::new(0);
        hasher.update(&self.bytes);
        Content { id: hasher.id(), size_bytes: self.bytes.len() as u64 }
    }

    fn act(&mut self, action: Action) -> Option<Input<'static>> {
        self.files.carry_out(action, &self.bytes, &self.paths)
    }

    fn open(&mut self, number: u64, name: &str) -> FileId {
        let (file, path, content) = (FileId(number), self.path(name), self.content());
        let opened = self.act(Action::OpenPartial { file, path, content, attributes: ATTRIBUTES });
        assert!(matches!(opened, Some(Input::PartialOpened { .. })), "{opened:?}");
        file
    }

    /// Writes these bytes where they belong.
    fn write(&mut self, file: FileId, range: std::ops::Range<usize>) {
        let offset = range.start as u64;
        let written = self.act(Action::Write { file, range, offset });
        assert!(matches!(written, Some(Input::Written { .. })), "{written:?}");
    }

    /// What the slices bring, until nothing is left to do.
    fn slices(&mut self) -> Vec<Input<'static>> {
        let mut inputs = Vec::new();
        let mut scratch = vec![0; 100_000];
        while let Some(at) = self.files.next_hash_at(Instant::now()) {
            if let Some((input, cost_bytes)) =
                self.files.hash_slice(at.max(Instant::now()), &mut scratch)
            {
                assert!(cost_bytes > 0, "a slice for nothing");
                inputs.extend(input);
            }
        }
        inputs
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(Result::unwrap);
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn blocks_are_hashed_beside_files_and_a_closed_file_is_hashed_no_more() {
    let mut scene = Scene::new();
    fs::write(scene.folder.path().join("other"), "x").unwrap();
    let (file, gone) = (scene.open(1, "f"), scene.open(2, "g"));
    scene.write(file, BLOCK..2 * BLOCK);
    for block in [1, 3] {
        assert!(scene.act(Action::HashBlock { file, block }).is_none());
    }
    assert!(scene.act(Action::HashBlock { file: gone, block: 0 }).is_none());
    assert!(scene.act(Action::Discard(gone)).is_none());
    let path = scene.path("other");
    scene.act(Action::Hash { path, kind: HashKind::Sha256 });
    let inputs = scene.slices();
    let value = |block: u32| {
        inputs.iter().find_map(|input| match input {
            Input::BlockHashed { file: of, block: other, value } if *other == block => {
                assert_eq!(*of, file);
                Some(*value)
            }
            _ => None,
        })
    };
    let mut hasher = BlockHasher::new(BLOCK as u64);
    hasher.update(&scene.bytes[BLOCK..2 * BLOCK]);
    assert_eq!(value(1), Some(hasher.value()));
    let mut hasher = BlockHasher::new(3 * BLOCK as u64);
    hasher.update(&[0]);
    assert_eq!(value(3), Some(hasher.value()), "zeros where nothing stands");
    let is_of_path = |input: &&Input<'_>| match input {
        Input::Hashed { path: other, .. } | Input::HashFailed { path: other, .. } => *other == path,
        _ => false,
    };
    assert_eq!(inputs.iter().filter(is_of_path).count(), 1);
    assert_eq!(inputs.len(), 3, "{inputs:?}");
}

#[test]
fn what_is_kept_is_continued_and_what_is_discarded_is_not() {
    let mut scene = Scene::new();
    let file = scene.open(1, "f");
    scene.write(file, 0..BLOCK);
    assert!(scene.act(Action::Keep(file)).is_none());
    assert_eq!(scene.names().len(), 1);
    let (file, path, content) = (FileId(2), scene.path("f"), scene.content());
    let action = Action::OpenPartial { file, path, content, attributes: ATTRIBUTES };
    let Some(Input::PartialOpened { data, .. }) = scene.act(action) else { panic!("not opened") };
    assert_eq!((data.len(), data[0].clone()), (1, 0..BLOCK as u64));
    assert!(scene.act(Action::Discard(file)).is_none());
    assert_eq!(scene.names(), [""; 0]);
    let file = scene.open(3, "f");
    scene.act(Action::Commit(file));
    assert!(scene.act(Action::Discard(file)).is_none() && !scene.files.has_commits());
    assert_eq!(scene.names(), [""; 0]);
}

#[test]
fn a_copy_is_committed_once_it_is_whole() {
    let mut scene = Scene::new();
    let file = scene.open(1, "f");
    scene.write(file, 0..3 * BLOCK + 1);
    scene.act(Action::Commit(file));
    assert!(matches!(scene.files.commit()[..], [Input::Committed { .. }]));
    let (from, content) = (scene.path("f"), scene.content());
    let mut copy = |number: u64, name: &str| {
        let (file, path) = (FileId(number), scene.path(name));
        let answer =
            scene.act(Action::CopyFile { file, from, path, content, attributes: ATTRIBUTES });
        let inputs = scene.slices();
        (answer, inputs, scene.files.commit())
    };
    let (answer, inputs, committed) = copy(2, "g");
    assert!(answer.is_none() && inputs.is_empty(), "{answer:?} {inputs:?}");
    assert!(matches!(committed[..], [Input::Committed { file: FileId(2), .. }]));
    let (answer, ..) = copy(3, "g");
    assert!(matches!(answer, Some(Input::FileFailed { file: FileId(3), .. })), "{answer:?}");
    assert!(fs::read(scene.folder.path().join("g")).unwrap() == scene.bytes);
    // The file was changed since.
    scene.bytes[7] ^= 1;
    fs::write(scene.folder.path().join("f"), &scene.bytes).unwrap();
    let (file, path) = (FileId(4), scene.path("h"));
    scene.act(Action::CopyFile { file, from, path, content, attributes: ATTRIBUTES });
    let inputs = scene.slices();
    assert!(
        matches!(inputs[..], [Input::FileFailed { file: FileId(4), error: FileError::Changed }]),
        "{inputs:?}"
    );
    assert_eq!(scene.names(), ["f", "g"]);
}

#[test]
fn an_empty_folder_is_made_once_and_nothing_else_gives_way() {
    let mut scene = Scene::new();
    let path = scene.path("f");
    for _ in 0..2 {
        let made = scene.act(Action::MakeFolder(path));
        assert!(matches!(made, Some(Input::FolderMade { made: Ok(()), .. })), "{made:?}");
    }
    fs::write(scene.folder.path().join("file"), "theirs").unwrap();
    let path = scene.path("file");
    let made = scene.act(Action::MakeFolder(path));
    let is_refused = matches!(
        made,
        Some(Input::FolderMade { made: Err(FileError::NoFolder(there)), .. })
            if there.components == 1 && !there.is_link
    );
    assert!(is_refused, "{made:?}");
    assert_eq!(scene.names(), ["f", "file"]);
}
