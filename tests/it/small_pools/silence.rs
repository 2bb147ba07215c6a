// SPDX-License-Identifier: MPL-2.0
//! Pools of an unknown size: what a source's silence tells of them.

use super::*;

#[test]
fn a_pool_that_nothing_tells_of_is_learned() {
    let rig = rig();
    let said = Said::on(&rig.bus);
    let stuck = stuck(&rig);
    let (slow, fast) = (slow(&rig), fast(&rig, "fast"));
    let mut camera = Camera::new(&rig, Buffers::secret(4));
    camera.run(60, &[&fast]);
    camera.assert_short_stops();
    assert_eq!((count(&fast, "out"), count(&fast, "dropped")), (60, 0));
    for pad in [&stuck.pad, &slow, &fast] {
        assert_balanced(&pad_stats(pad));
    }
    let told = said.named("dronetee-pool");
    assert!(!told.is_empty());
    assert!(told[0].get::<bool>("learned").unwrap());
    assert!(warnings(&said)[0].contains("max-held"));
    assert!(figure(&rig, "max-held") >= 1);
    // From then on nothing stops.
    camera.waits.clear();
    camera.run(60, &[&fast]);
    assert!(
        camera.longest() < Duration::from_millis(150),
        "{:?}",
        camera.stops()
    );
    assert_eq!(count(&fast, "dropped"), 0);
}

/// Sources fall silent for reasons of their own, with buffers to spare.
#[test]
fn a_source_s_own_silence_costs_two_frames_at_most() {
    std::thread::scope(|scope| {
        scope.spawn(|| silence_costs(0, Buffers::secret(50), 2));
        scope.spawn(|| silence_costs(50, Buffers::secret(100), 0));
        scope.spawn(|| silence_costs(0, Buffers::Pool(pool(50)), 0));
    });
}

fn silence_costs(max_held: u32, buffers: Buffers, most: u64) {
    let rig = Rig::with(|tee| tee.set_property("max-held", max_held));
    rig.begin(&caps(8));
    let stuck = stuck(&rig);
    let mut camera = Camera::new(&rig, buffers);
    camera.run(8, &[]);
    stuck.wait_in_flight();
    for _ in 0..3 {
        let before = stuck.count("dropped-pool");
        work_for(Duration::from_millis(900));
        let lost = stuck.count("dropped-pool") - before;
        assert!(lost <= most, "{lost} of at most {most}");
        camera.run(6, &[]);
    }
    assert_eq!(
        figure(&rig, "max-held"),
        max_held.max(48 * u32::from(figure(&rig, "pool-size") == 50))
    );
    assert_balanced(&stuck.stats());
}

/// What one format taught does not hold for the next.
#[test]
fn new_caps_are_another_pool() {
    let rig = rig();
    let said = Said::on(&rig.bus);
    let stuck = stuck(&rig);
    let fast = fast(&rig, "fast");
    let mut camera = Camera::new(&rig, Buffers::secret(4));
    camera.run(30, &[&fast]);
    assert_eq!(
        (figure(&rig, "pool-size"), figure(&rig, "max-held")),
        (4, 2)
    );
    assert!(rig.src.push_event(gst::event::Caps::new(&caps(8))));
    assert_eq!(figure(&rig, "max-held"), 2, "they are the same");
    assert!(rig.src.push_event(gst::event::Caps::new(&caps(16))));
    assert_eq!(
        (figure(&rig, "pool-size"), figure(&rig, "max-held")),
        (0, 0)
    );
    camera.waits.clear();
    camera.run(30, &[&fast]);
    assert_eq!(
        (figure(&rig, "pool-size"), figure(&rig, "max-held")),
        (4, 2)
    );
    assert!(camera.stops().iter().sum::<Duration>() < Duration::from_secs(1));
    assert_eq!(said.named("dronetee-pool").len(), 2);
    assert_eq!((stuck.count("out"), count(&fast, "dropped")), (0, 0));
}

#[test]
fn nothing_is_suspected_in_paused_after_the_end_and_in_a_flush() {
    let rig = rig();
    let stuck = stuck(&rig);
    let mut camera = Camera::new(&rig, Buffers::secret(50));
    rig.tee.set_state(gst::State::Paused).unwrap();
    camera.run(6, &[]);
    stuck.wait_in_flight();
    work_for(Duration::from_millis(700));
    assert_eq!((stuck.count("dropped"), stuck.level()), (1, 4));
    rig.tee.set_state(gst::State::Playing).unwrap();
    wait_for("a suspicion", || stuck.count("dropped-pool") == 2);
    camera.run(6, &[]);
    assert!(rig.src.push_event(gst::event::Eos::new()));
    let before = stuck.count("dropped-pool");
    work_for(Duration::from_millis(700));
    assert_eq!(stuck.count("dropped-pool"), before);
    rig.flush();
    work_for(Duration::from_millis(300));
    assert_eq!(stuck.count("dropped-pool"), before);
}

/// An end of the element leaves no thread behind, and each start watches anew.
#[test]
fn each_start_watches_anew() {
    let rig = rig();
    let stuck = stuck(&rig);
    for _ in 0..3 {
        let mut camera = Camera::new(&rig, Buffers::secret(3));
        camera.run(12, &[]);
        assert_eq!(
            (figure(&rig, "pool-size"), figure(&rig, "max-held")),
            (3, 1)
        );
        stuck.unstick();
        rig.tee.set_state(gst::State::Ready).unwrap();
        stuck.stick();
        rig.tee.set_state(gst::State::Playing).unwrap();
        assert_eq!(
            (figure(&rig, "pool-size"), figure(&rig, "max-held")),
            (0, 0)
        );
        rig.begin(&caps(8));
    }
}

#[test]
fn a_pool_that_does_not_tell_its_size_is_learned() {
    let rig = rig();
    let stuck = stuck(&rig);
    let fast = fast(&rig, "fast");
    let pool = glib::Object::new::<untold::UntoldPool>().upcast::<gst::BufferPool>();
    let mut config = pool.config();
    config.set_params(None, 16, 0, 0);
    pool.set_config(config).unwrap();
    pool.set_active(true).unwrap();
    let mut camera = Camera::new(&rig, Buffers::Pool(pool));
    camera.run(30, &[&fast]);
    assert!(camera.stops().iter().sum::<Duration>() < Duration::from_secs(1));
    assert_eq!(
        (figure(&rig, "pool-size"), figure(&rig, "max-held")),
        (4, 2)
    );
    assert_eq!((stuck.count("out"), count(&fast, "dropped")), (0, 0));
}
