//! Imports of what is no plain log: exports of the journal, binaries, other encodings.

use super::*;

#[test]
fn an_export_of_the_journal_is_a_log_of_its_lines_compressed_or_grown() {
    let mut world = World::new();
    let entry = |n: u32| {
        format!(
            "__CURSOR=s=1;i={n}\n__REALTIME_TIMESTAMP={}\n_HOSTNAME=mx\nSYSLOG_IDENTIFIER=exim\n_PID=7\n\
             MESSAGE=1rfX{n:02x}-0001Ab-2C Completed\n\n",
            1_795_342_608_000_000_u64 + u64::from(n)
        )
    };
    let all = |count| (0..count).map(entry).collect::<String>();
    world.put("x.export", &all(100));
    assert_eq!(states(&world.import(&["x.export"]).0), [&read(100, false)]);
    gzip(&world.path("x.export"), &world.path("x.gz"));
    assert_eq!(states(&world.import(&["x.export", "x.gz"]).0), [&State::Known, &State::Known]);
    fs::write(world.path("grown"), all(120)).unwrap();
    assert_eq!(states(&world.import(&["grown"]).0), [&read(20, true)]);
    let found = world.found();
    assert_eq!(found.len(), 120);
    assert_eq!(found[0], "2026-11-22T10:16:48.000000Z mx exim[7]: 1rfX00-0001Ab-2C Completed");
    fs::write(world.path("cut"), &all(130)[..all(125).len() + 40]).unwrap();
    let (done, figures) = world.import(&["cut"]);
    assert!(
        matches!(&done[0].state, State::Failed { message } if message.contains("cut off in mid-entry")),
        "{done:?}"
    );
    assert_eq!(figures.lines, 5, "what is whole is read");
    fs::write(world.path("whole"), all(130)).unwrap();
    assert_eq!(states(&world.import(&["whole"]).0), [&read(5, true)]);
}

#[test]
fn what_is_no_text_is_named_and_with_a_dialect_every_line_of_it_is_kept() {
    let world = World::new();
    let mut binary: Vec<u8> = (0..40_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    binary.push(b'\n');
    fs::write(world.path("binary"), &binary).unwrap();
    let utf16: Vec<u8> = [0xfeff_u16].into_iter().chain(text(1).encode_utf16()).flat_map(u16::to_le_bytes).collect();
    fs::write(world.path("utf16"), utf16).unwrap();
    let import = |world: &World, name, options| {
        let mut import = Import::open(&world.shipping("import"), "logs", options, Time::now()).unwrap();
        let log = import.prepare(&world.path(name)).map_err(|done| done.state)?;
        import.read(vec![log], &CancellationToken::new()).unwrap();
        Ok(import.into_summary().figures())
    };
    let guess = || Options { dialect: None, ..World::options() };
    for (name, said) in [("binary", "it is no text; "), ("utf16", "it is UTF-16, not UTF-8; try: iconv")] {
        let refused = import(&world, name, guess());
        assert!(matches!(&refused, Err(State::Failed { message }) if message.starts_with(said)), "{refused:?}");
    }
    let lines = binary.iter().filter(|byte| **byte == b'\n').count() as u64;
    let figures = import(&world, "binary", World::options()).unwrap();
    assert_eq!((figures.lines, figures.unrecognised, figures.events), (lines, lines, lines));
}
