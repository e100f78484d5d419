/** Every text of the page, in Vietnamese and English: [vi, en]. */

/** @type {Record<string, [string, string]>} */
const TEXTS = {
  title: ["Tra cứu camera", "Camera footage"],
  find: ["Tìm", "Find"],
  place: ["Địa điểm hoặc camera", "Place or camera"],
  placeHint: ["vd. Liên Nghĩa, hôm qua 21:40", "e.g. Lien Nghia, yesterday 21:40"],
  date: ["Ngày", "Date"],
  time: ["Giờ", "Time"],
  timeHint: ["vd. 21:40 hoặc 2140", "e.g. 21:40 or 2140"],
  badTime: ["Giờ phải có dạng 21:40 hoặc 21:40:05", "Write the time as 21:40 or 21:40:05"],
  dateHint: ["ngày/tháng/năm", "dd/mm/yyyy"],
  badDate: ["Ngày phải có dạng 24/11 hoặc 24/11/2026", "Write the date as 24/11 or 24/11/2026"],
  calendar: ["Chọn ngày", "Choose a date"],
  today: ["Hôm nay", "Today"],
  yesterday: ["Hôm qua", "Yesterday"],
  tenAgo: ["10 phút trước", "10 min ago"],
  nearMe: ["Gần tôi", "Near me"],
  nearCamera: ["Camera gần đây", "Cameras nearby"],
  nearest: ["gần {name} trước", "nearest to {name} first"],
  me: ["vị trí của tôi", "my position"],
  noPosition: ["Trình duyệt không cho biết vị trí.", "The browser does not tell the position."],
  forget: ["Bỏ sắp theo khoảng cách", "Stop sorting by distance"],
  found: ["{n} camera", "{n} cameras"],
  found1: ["1 camera", "1 camera"],
  none: ["Không có camera nào khớp với mọi từ “{q}”. Hãy bớt từ, hoặc xóa ô tìm để xem tất cả.",
    "No camera matches every word of “{q}”. Use fewer words, or clear the box to see all."],
  list: ["Danh sách camera", "Cameras found"],
  watch: ["Xem", "Watch"],
  beside: ["Xem cạnh nhau", "Side by side"],
  beside1: ["Thêm", "Add"],
  watching: ["Đang xem", "Watching"],
  coverage: ["Hình đã lưu của {name}", "Footage of {name}"],
  viewer: ["Màn hình xem lại", "Player"],
  pick: ["Chọn một camera, hoặc bấm vào thanh thời gian của nó, để xem lại từ thời điểm đó.",
    "Choose a camera, or click its bar, to watch from that instant."],
  legend: ["Chú giải", "Legend"],
  recorded: ["có hình", "recorded"],
  gap: ["mất hình", "gap"],
  pending: ["đang chờ xử lý", "pending"],
  expired: ["đã hết hạn lưu", "expired"],
  not_expected: ["không ghi hình", "not recording"],
  future: ["chưa tới", "not yet"],
  "now.recording": ["đang ghi", "recording"],
  "now.late": ["ghi chậm", "late"],
  "now.lost": ["mất tín hiệu", "signal lost"],
  "now.disabled": ["đã tắt", "switched off"],
  "cause.camera_unreachable": ["không kết nối được camera", "camera unreachable"],
  "cause.auth_failed": ["camera từ chối đăng nhập", "camera refused the login"],
  "cause.not_found": ["camera không có luồng hình này", "no such stream on the camera"],
  "cause.source_silent": ["camera ngừng gửi hình", "camera sent no pictures"],
  "cause.stream_error": ["luồng hình bị lỗi", "stream broken"],
  "cause.stream_changed": ["camera đổi thiết lập hình", "camera changed its picture settings"],
  "cause.shed_backpressure": ["hệ thống quá tải, phải bỏ bớt hình", "system overloaded, pictures dropped"],
  "cause.storage_down": ["kho lưu trữ ngừng hoạt động", "storage was down"],
  "cause.handover": ["chuyển giao giữa các máy thu", "handover between receivers"],
  "cause.clock_step": ["đồng hồ máy chủ bị lệch", "server clock was off"],
  "cause.service_down": ["dịch vụ ghi hình ngừng hoạt động", "recording service was down"],
  "cause.pipeline_loss": ["mất trong hệ thống (lỗi phần mềm)", "lost inside the system (a bug)"],
  "cause.unknown": ["không rõ nguyên nhân", "cause unknown"],
  span: ["Độ rộng thanh thời gian", "Bar shows"],
  span24: ["24 giờ", "24 h"],
  span1: ["1 giờ", "1 h"],
  span10: ["10 phút", "10 min"],
  controls: ["Điều khiển", "Controls"],
  play: ["Phát", "Play"],
  pause: ["Dừng", "Pause"],
  back10: ["Lùi 10 giây", "Back 10 s"],
  back1: ["Lùi 1 giây", "Back 1 s"],
  on1: ["Tới 1 giây", "Forward 1 s"],
  on10: ["Tới 10 giây", "Forward 10 s"],
  frameBack: ["Lùi một khung hình", "Previous frame"],
  frameOn: ["Tới một khung hình", "Next frame"],
  frame: ["khung", "frame"],
  gapBack: ["Đoạn mất hình trước", "Previous gap"],
  gapOn: ["Đoạn mất hình sau", "Next gap"],
  noGap: ["Không còn đoạn mất hình nào trong ngày này.", "No other gap on this day."],
  speed: ["Tốc độ", "Speed"],
  markFrom: ["Đặt điểm đầu", "Mark start"],
  markTo: ["Đặt điểm cuối", "Mark end"],
  from: ["Từ", "From"],
  to: ["Đến", "To"],
  unset: ["chưa đặt", "not set"],
  clear: ["Xóa mốc", "Clear"],
  clip: ["Tải đoạn hình", "Download clip"],
  clipShort: ["Đoạn hình", "Clip"],
  clipDefault: ["30 giây trước và sau, khi chưa đặt mốc", "30 s before and after, until marks are set"],
  still: ["Tải ảnh", "Download still"],
  stillShort: ["Ảnh", "Still"],
  close: ["Đóng {name}", "Close {name}"],
  loading: ["Đang tải hình…", "Loading…"],
  gapIs: ["Mất hình: {cause}", "Gap: {cause}"],
  skip: ["Tới chỗ có hình", "Go to where footage resumes"],
  pendingIs: ["Đang chờ: hình có thể còn đang tới", "Pending: footage may still arrive"],
  live: ["Chưa có hình mới hơn", "Nothing newer yet"],
  failed: ["Không tải được hình, đang thử lại…", "Footage cannot be loaded, trying again…"],
  unsupported: ["Trình duyệt này không phát được {codec}. Hãy tải đoạn hình về và mở bằng VLC, hoặc xem ảnh.",
    "This browser cannot play {codec}. Download the clip and open it in VLC, or take stills."],
  noMedia: ["Trình duyệt này không phát được hình. Hãy tải đoạn hình về.",
    "This browser cannot play footage. Download the clip."],
  nothingHere: ["Không có hình nào trong khoảng này.", "Nothing is stored in this range."],
  differing: ["Camera đã đổi thiết lập hình trong khoảng này; hãy tải từng phần:",
    "The camera changed its picture settings in this range; download it in parts:"],
  tooLong: ["Điểm cuối phải sau điểm đầu, cách nhau nhiều nhất 24 giờ.", "The end must be after the start, at most 24 h."],
  busy: ["Hệ thống đang bận, hãy thử lại sau {n} giây.", "The system is busy, try again in {n} s."],
  noStill: ["Không có ảnh tại thời điểm này.", "There is no picture at this instant."],
  away: ["Máy chủ không trả lời. Đang thử lại…", "The server does not answer. Trying again…"],
  building: ["Chỉ mục đang được dựng lại; chưa trả lời được.", "The index is being rebuilt; no answers yet."],
  link: ["Chép liên kết", "Copy link"],
  copied: ["Đã chép liên kết tới thời điểm này.", "The link to this instant is copied."],
  help: ["Phím tắt", "Shortcuts"],
  language: ["English", "Tiếng Việt"],
  dark: ["Nền tối", "Dark"],
  light: ["Nền sáng", "Light"],
  logout: ["Đăng xuất", "Log out"],
  login: ["Đăng nhập", "Log in"],
  key: ["Mã truy cập", "Access key"],
  keyHint: ["Mã do quản trị viên cấp.", "Your administrator issues it."],
  badKey: ["Mã truy cập không đúng.", "That key is not valid."],
  tooMany: ["Thử quá nhiều lần. Hãy đợi {n} giây.", "Too many tries. Wait {n} seconds."],
  loginFailed: ["Không đăng nhập được. Hãy thử lại.", "Login failed. Try again."],
  most: ["Xem cạnh nhau nhiều nhất {n} camera.", "At most {n} cameras side by side."],
  skipTo: ["Tới kết quả", "Skip to results"],
  at: ["lúc", "at"],
  oclock: ["giờ {zone}", "{zone} time"],
  latest: ["mới nhất", "latest"],
  noPicture: ["không có ảnh", "no picture"],
  "key.space": ["Phát hoặc dừng", "Play or pause"],
  "key.arrows": ["Lùi, tới 1 giây (trên thanh thời gian: một nấc)", "Back, forward 1 s (on a bar: one step)"],
  "key.jl": ["Lùi, tới 10 giây", "Back, forward 10 s"],
  "key.frames": ["Lùi, tới một khung hình", "Previous, next frame"],
  "key.gaps": ["Đoạn mất hình trước, sau", "Previous, next gap"],
  "key.speed": ["Chậm hơn, nhanh hơn", "Slower, faster"],
  "key.marks": ["Đặt điểm đầu, điểm cuối", "Mark start, end"],
  "key.zoom": ["Thu hẹp, mở rộng thanh thời gian", "Narrower, wider bar"],
  "key.search": ["Tới ô tìm kiếm", "Go to the search box"],
  "key.help": ["Bảng phím tắt", "This list"],
};

const KEPT = "districam.language";
let chosen = localStorage.getItem(KEPT) ?? (navigator.language.toLowerCase().startsWith("vi") ? "vi" : "en");

export const language = () => chosen;

/** @param {string} language_ vi or en */
export function choose(language_) {
  chosen = language_;
  localStorage.setItem(KEPT, language_);
}

/**
 * A text of the table; `{name}` is replaced by its value.
 * @param {string} name
 * @param {Record<string, string | number>} [values]
 */
export function t(name, values = {}) {
  const text = TEXTS[name]?.[chosen === "vi" ? 0 : 1] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, key) => String(values[key] ?? ""));
}

/** Sets the text of every element that has data-t (content), data-t-label or data-t-hint (attributes). */
export function fill(/** @type {ParentNode} */ root) {
  document.documentElement.lang = chosen;
  for (const one of root.querySelectorAll("[data-t]")) one.textContent = t(/** @type {any} */ (one).dataset.t);
  for (const one of root.querySelectorAll("[data-t-label]")) {
    const text = t(/** @type {any} */ (one).dataset.tLabel);
    one.setAttribute("aria-label", text);
    one.setAttribute("title", text);
  }
  for (const one of root.querySelectorAll("[data-t-hint]")) {
    one.setAttribute("placeholder", t(/** @type {any} */ (one).dataset.tHint));
  }
}

/** A duration in words. @param {number} us */
export function lasting(us) {
  const [s, words] = [Math.max(us / 1e6, 0), chosen === "vi" ? ["giờ", "phút", "giây"] : ["h", "min", "s"]];
  if (s < 60) return `${s < 10 ? Math.round(s * 10) / 10 : Math.round(s)} ${words[2]}`;
  const [hours, minutes, seconds] = [Math.floor(s / 3600), Math.floor((s % 3600) / 60), Math.floor(s % 60)];
  const parts = hours ? [hours, words[0], minutes, words[1]] : [minutes, words[1], seconds, words[2]];
  return (parts[2] ? parts : parts.slice(0, 2)).join(" ");
}

/** A date with its weekday. @param {string} date YYYY-MM-DD */
export function dateWords(date) {
  const noon = new Date(`${date}T12:00:00Z`);
  const form = /** @type {const} */ ({ weekday: "short", day: "2-digit", month: "2-digit", year: "numeric", timeZone: "UTC" });
  return new Intl.DateTimeFormat(chosen === "vi" ? "vi-VN" : "en-GB", form).format(noon);
}

/** @param {number} metres */
export function distance(metres) {
  const locale = chosen === "vi" ? "vi-VN" : "en-GB";
  if (metres < 1000) return `${Math.round(metres / 10) * 10} m`;
  return `${(metres / 1000).toLocaleString(locale, { maximumFractionDigits: metres < 10_000 ? 1 : 0 })} km`;
}
