async () => {
  const [time, bar, clock, playlist] = await Promise.all(
    ["time", "bar", "clock", "playlist"].map((name) => import(`/page/${name}.js`)));
  const wrong = [];
  const is = (what, got, wanted) => {
    const [a, b] = [JSON.stringify(got), JSON.stringify(wanted)];
    if (a !== b) wrong.push(`${what}: ${a}, not ${b}`);
  };
  const saigon = "Asia/Ho_Chi_Minh";
  // instants
  const us = time.parseUs("2026-11-24T21:40:00.123456+07:00");
  is("parse", us, Date.UTC(2026, 10, 24, 14, 40) * 1000 + 123456);
  is("rfc3339", time.rfc3339(us), "2026-11-24T14:40:00.123456Z");
  is("local", time.local(us, saigon), { date: "2026-11-24", time: "21:40:00" });
  is("from local", time.rfc3339(time.fromLocal("2026-11-24", "21:40:00", saigon)), "2026-11-24T14:40:00.000000Z");
  is("twice", time.rfc3339(time.fromLocal("2026-10-25", "02:30:00", "Europe/Berlin")), "2026-10-25T00:30:00.000000Z");
  is("never", time.rfc3339(time.fromLocal("2026-03-29", "02:30:00", "Europe/Berlin")), "2026-03-29T01:30:00.000000Z");
  const long = time.dayOf(time.fromLocal("2026-10-25", "12:00:00", "Europe/Berlin"), "Europe/Berlin");
  is("a day of 25 hours", (long.to - long.from) / time.HOUR, 25);
  for (const [text, wanted] of [["21:40", "21:40:00"], ["21h40", "21:40:00"], ["2140", "21:40:00"], ["9h", "09:00:00"],
    ["930", "09:30:00"], ["21:40:05", "21:40:05"], ["24:00", null], ["21:60", null], ["abc", null], ["", null], ["9", null]]) {
    is(`time of day ${text}`, time.timeOfDay(text), wanted);
  }
  for (const [text, place, date, at] of [
    ["Liên Nghĩa, hôm qua 21:40", "Liên Nghĩa", "2026-11-24", "21:40:00"],
    ["lien nghia yesterday at 21:40", "lien nghia", "2026-11-24", "21:40:00"],
    ["chợ hôm nay lúc 6h05", "chợ", "2026-11-25", "06:05:00"],
    ["cầu 3/9 7h", "cầu", "2026-09-03", "07:00:00"],
    ["Quốc lộ 20", "Quốc lộ 20", null, null],
    ["cam-001", "cam-001", null, null],
  ]) is(`asked ${text}`, time.asked(text, "2026-11-25"), { place, date, time: at });
  for (const [text, wanted] of [["24/11/2026", "2026-11-24"], ["3/9", "2026-09-03"], ["31/2/2026", null], ["11/24/2026", null], ["", null]]) {
    is(`date ${text}`, time.dateOf(text, "2026-11-25"), wanted);
  }
  is("written date", time.dateText("2026-09-03"), "03/09/2026");
  // the bar
  const states = [
    { state: "recorded", from: 0, to: 500e6 }, { state: "gap", from: 500e6, to: 500.2e6, cause: "x" },
    { state: "recorded", from: 500.2e6, to: 900e6 }, { state: "pending", from: 900e6, to: 1000e6 }];
  const window = { from: 0, to: 1000e6 };
  is("a short gap is two pixels", bar.runs(states, window, 100, 1e15),
    [{ state: "recorded", x: 0, width: 50 }, { state: "gap", x: 50, width: 2 }, { state: "recorded", x: 52, width: 38 },
      { state: "pending", x: 90, width: 10 }]);
  const short = [{ state: "gap", from: 0, to: 500e6 }, { state: "recorded", from: 500e6, to: 501e6 },
    { state: "gap", from: 501e6, to: 1000e6 }];
  is("a little footage is a pixel", bar.runs(short, window, 100, 1e15),
    [{ state: "gap", x: 0, width: 50 }, { state: "recorded", x: 50, width: 1 }, { state: "gap", x: 51, width: 49 }]);
  is("nothing later than now", bar.runs(states, window, 100, 250e6), [{ state: "recorded", x: 0, width: 25 }]);
  is("state", bar.stateAt(states, 500e6).state, "gap");
  is("no state", bar.stateAt(states, 1000e6), null);
  is("next gap", bar.gapFrom(states, 0, 1).from, 500e6);
  is("no next gap", bar.gapFrom(states, 500e6, 1), null);
  is("previous gap", bar.gapFrom(states, 600e6, -1).from, 500e6);
  is("no previous gap", bar.gapFrom(states, 500.1e6, -1), null);
  is("footage after", bar.footageAfter(states, 500e6), 500.2e6);
  is("bare", bar.isBare(states, { from: 500e6, to: 500.1e6 }), true);
  is("not bare", bar.isBare(states, { from: 499e6, to: 500.1e6 }), false);
  is("not known to be bare", bar.isBare(states, { from: 950e6, to: 1001e6 }), false);
  // the clock
  let one = clock.clockAt(1e9);
  is("stands", clock.read(one, 5000), 1e9);
  one = clock.changed(one, 1000, { playing: true, rate: 2 });
  is("runs at its rate", clock.read(one, 2000), 1e9 + 2e6);
  is("never beyond now", clock.read(one, 2000, 1e9 + 1e6), 1e9 + 1e6);
  one = clock.changed(one, 2000, { held: true });
  is("waits", clock.read(one, 9000), 1e9 + 2e6);
  one = clock.changed(one, 9000, { held: false });
  is("goes on", clock.read(one, 9500), 1e9 + 3e6);
  is("in step", clock.correction(0.01, 1), { jump: false, rate: 1 });
  is("a little behind", clock.correction(0.1, 1), { jump: false, rate: 1.1 });
  is("ahead", clock.correction(-0.5, 2), { jump: false, rate: 1.76 });
  is("far", clock.correction(2, 1).jump, true);
  // the playlist
  const read = playlist.parse(['#EXTM3U', '#EXT-X-INDEPENDENT-SEGMENTS', '#EXT-X-MAP:URI="/a?token=1",BYTERANGE="700@0"',
    "#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:01.5Z", "#EXTINF:9.960000,", "#EXT-X-BYTERANGE:50@700", "/a?token=1",
    "#EXT-X-ENDLIST", ""].join("\n"));
  is("playlist", read, { entries: [{ start: 1.5e6, end: 11.46e6,
    media: { url: "/a?token=1", length: 50, offset: 700 }, init: { url: "/a?token=1", length: 700, offset: 0 } }],
  independent: true });
  return wrong;
}
