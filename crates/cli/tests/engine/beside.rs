//! Two captures of one container.

use lab::{Engine, judge};

use crate::tap::{Tap, idle, send};

#[test]
fn two_captures_of_one_container_see_the_same() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let taps = [(); 2].map(|()| Tap::start(&[web.name(), "--", "udp", "port", "9"]));
    send(&db, &web, 2000, "--run 9 --rate 20000");
    let [one, two] = taps.map(Tap::stop);
    for tapped in [&one, &two] {
        tapped.assert_whole();
        judge::all(tapped.file(), true).unwrap();
        assert_eq!(tapped.records().numbers(9).len(), 2000);
    }
    // Incoming frames have one stamp, whoever looks.
    if let Err(difference) = one.records().same_as(&two.records(), 0) {
        panic!("{difference}");
    }
}
