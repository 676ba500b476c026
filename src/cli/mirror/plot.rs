//! The growth of a log as a plot: in letters for a terminal, as SVG for a page.

use jiff::Timestamp;

use crate::cli::output;
use crate::xml;

/// Columns of the plot in letters.
const COLUMNS: usize = 60;
/// Its rows, of eight steps each.
const ROWS: usize = 6;
/// Heads up to this number are drawn as points, too.
const MAX_MARKED: usize = 32;
const STEPS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The ranges of time and size that a plot shows, each from its least to its greatest value.
struct Frame {
    times: (f64, f64),
    sizes: (f64, f64),
}

impl Frame {
    /// The frame of some heads; none where there is no head.
    fn of(growth: &[(Timestamp, u64)]) -> Option<Frame> {
        let range = |of: fn((f64, f64)) -> f64| {
            let values = growth.iter().map(|point| of(at(point)));
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
                (least.min(value), most.max(value))
            })
        };
        (!growth.is_empty()).then(|| Frame { times: range(|(time, _)| time), sizes: range(|(_, size)| size) })
    }

    /// Where a head is, each from 0 to 1; in the middle where all are the same.
    fn place(&self, (time, size): (f64, f64)) -> (f64, f64) {
        let within = |value: f64, (least, most): (f64, f64)| match most - least {
            0.0 => 0.5,
            width => (value - least) / width,
        };
        (within(time, self.times), within(size, self.sizes))
    }

    /// Whether there is a line to draw: time has passed, and records have come.
    fn has_line(&self) -> bool {
        self.times.1 > self.times.0 && self.sizes.1 > self.sizes.0
    }
}

fn at(point: &(Timestamp, u64)) -> (f64, f64) {
    (point.0.as_millisecond() as f64, point.1 as f64)
}

/// What the heads tell, in a sentence.
fn summary(growth: &[(Timestamp, u64)]) -> String {
    let (Some((first, from)), Some((last, to))) = (growth.first(), growth.last()) else {
        return "No head is stored yet: the first one begins the plot.".to_owned();
    };
    let (records, from_day, to_day) = (output::count(*to, "record"), day(first), day(last));
    match (growth.len(), from == to) {
        (1, _) => {
            format!("One head is stored: {records} at {from_day} UTC. The line begins with the second.")
        }
        (_, true) => format!("No growth: {records} from {from_day} to {to_day} UTC."),
        (_, false) if first == last => format!("{records}; all heads were first seen at {to_day} UTC."),
        (_, false) => {
            format!(
                "{} more from {from_day} to {to_day} UTC.",
                output::count(to.saturating_sub(*from), "record")
            )
        }
    }
}

/// The plot in letters, a line each; a sentence where there is no line to draw.
pub(super) fn text(growth: &[(Timestamp, u64)]) -> String {
    letters(growth).unwrap_or_else(|| format!("  {}\n", summary(growth)))
}

fn letters(growth: &[(Timestamp, u64)]) -> Option<String> {
    let frame = Frame::of(growth).filter(Frame::has_line)?;
    // The size at the right end of each column: that of the newest head until then.
    let mut heights = [0.0; COLUMNS];
    for point in growth {
        let (x, y) = frame.place(at(point));
        let column = ((x * COLUMNS as f64).ceil() as usize).clamp(1, COLUMNS) - 1;
        heights[column..].fill(y);
    }
    let (low, high) = (growth.first()?.1, growth.last()?.1);
    let label = high.to_string().len().max(low.to_string().len());
    let mut text = String::new();
    for row in (0..ROWS).rev() {
        let name = match row {
            0 => low.to_string(),
            row if row == ROWS - 1 => high.to_string(),
            _ => String::new(),
        };
        let bar = |height: &f64| {
            let steps = (height * (ROWS * 8 - 1) as f64).round() as usize + 1;
            STEPS[steps.saturating_sub(row * 8).min(8)]
        };
        let bars: String = heights.iter().map(bar).collect();
        text += &format!("  {name:>label$} ┤{bars}\n");
    }
    let times = labels(growth, |point| point.0);
    let (first, last) = (day(times.first()?), day(times.last()?));
    text += &format!("  {:label$}  {first}{last:>rest$}\n", "", rest = COLUMNS - first.len());
    Some(text)
}

fn day(time: &Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M").to_string()
}

/// The plot as SVG: title, a sentence, axes, a line through the heads, and a point for each while
/// they are few.
pub(super) fn svg(log: &str, growth: &[(Timestamp, u64)]) -> String {
    const WIDTH: f64 = 720.0;
    const HEIGHT: f64 = 360.0;
    let (left, right, top, bottom) = (90.0, WIDTH - 20.0, 64.0, HEIGHT - 40.0);
    let log = xml::escape(log);
    let summary = xml::escape(&summary(growth));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         role=\"img\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>{log}: records</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{left}\" y=\"24\" font-size=\"15\">{log}: records</text>\n\
         <text x=\"{left}\" y=\"44\" fill=\"#555\">{summary}</text>\n\
         <path d=\"M{left},{top} V{bottom} H{right}\" fill=\"none\" stroke=\"#888\"/>\n"
    );
    let Some(frame) = Frame::of(growth) else { return svg + "</svg>\n" };
    let place = |point: &(Timestamp, u64)| {
        let (x, y) = frame.place(at(point));
        (left + x * (right - left), bottom - y * (bottom - top))
    };
    let points: Vec<(f64, f64)> = growth.iter().map(place).collect();
    let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    if points.len() > 1 {
        svg += &format!(
            "<path d=\"M{}\" fill=\"none\" stroke=\"#2563eb\" stroke-width=\"2\" stroke-linejoin=\"round\"/>\n",
            line.join(" L")
        );
    }
    if points.len() <= MAX_MARKED {
        for (x, y) in &points {
            svg += &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"#2563eb\"/>\n");
        }
    }
    let text = |x: f64, y: f64, anchor: &str, text: &str| {
        format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n")
    };
    let (sizes, times) = (labels(growth, |point| point.1), labels(growth, |point| point.0));
    for size in sizes {
        let (_, y) = place(&(growth[0].0, size));
        svg += &text(left - 6.0, y + 4.0, "end", &size.to_string());
    }
    for time in times {
        let (x, _) = place(&(time, growth[0].1));
        let anchor = if x == left {
            "start"
        } else if x == right {
            "end"
        } else {
            "middle"
        };
        svg += &text(x, bottom + 20.0, anchor, &day(&time));
    }
    svg + "</svg>\n"
}

/// The values that stand at an axis: the least and the greatest, once where they are the same.
fn labels<T: Ord + Copy>(growth: &[(Timestamp, u64)], of: fn(&(Timestamp, u64)) -> T) -> Vec<T> {
    let (least, most) = (growth.iter().map(of).min(), growth.iter().map(of).max());
    let mut labels: Vec<T> = least.into_iter().chain(most).collect();
    labels.dedup();
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(points: &[(i64, u64)]) -> Vec<(Timestamp, u64)> {
        points.iter().map(|(hour, size)| (Timestamp::from_second(hour * 3600).unwrap(), *size)).collect()
    }

    #[test]
    fn a_plot_goes_from_the_first_head_to_the_last() {
        let drawn = text(&growth(&[(0, 100), (30, 100), (60, 580)]));
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), ROWS + 1);
        assert_eq!(lines[0], format!("  580 ┤{}█", " ".repeat(COLUMNS - 1)));
        assert_eq!(lines[ROWS - 1], format!("  100 ┤{}█", "▁".repeat(COLUMNS - 1)));
        assert!(lines[ROWS].ends_with("1970-01-03 12:00"), "{drawn}");
        let drawn = svg("a<b", &growth(&[(0, 100), (30, 340), (60, 580)]));
        assert!(drawn.contains("d=\"M90.0,320.0 L395.0,192.0 L700.0,64.0\""), "{drawn}");
        assert!(drawn.contains(">a&lt;b: records<"), "{drawn}");
    }

    #[test]
    fn a_plot_of_few_heads_has_axes_and_says_what_is_known() {
        let table = [
            (&[][..], "No head is stored yet", 0),
            (&[(0, 1)], "One head is stored: 1 record at 1970-01-01 00:00 UTC", 1),
            (&[(0, 5), (9, 5)], "No growth: 5 records from 1970-01-01 00:00 to 1970-01-01 09:00 UTC", 2),
            (&[(3, 5), (3, 9)], "9 records; all heads were first seen at 1970-01-01 03:00 UTC", 2),
        ];
        for (points, sentence, circles) in table {
            let points = growth(points);
            let drawn = svg("log", &points);
            assert!(drawn.contains(sentence), "{drawn}");
            assert!(drawn.contains("d=\"M90,64 V320 H700\""), "axes: {drawn}");
            assert_eq!(drawn.matches("<circle").count(), circles, "{drawn}");
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
            assert!(text(&points).starts_with(&format!("  {sentence}")), "{}", text(&points));
        }
        // The point of one head lies in the middle, with its size and its time at the axes.
        let one = svg("log", &growth(&[(0, 7)]));
        assert!(one.contains("<circle cx=\"395.0\" cy=\"192.0\"") && one.contains(">7<"), "{one}");
    }

    /// A clock that was set back between two heads: no point lies outside of the axes.
    #[test]
    fn a_plot_stays_within_its_axes() {
        for points in [&[(9, 5), (3, 9)][..], &[(0, 1), (9, 5), (3, 9)]] {
            let drawn = svg("log", &growth(points));
            for circle in drawn.split("<circle cx=\"").skip(1) {
                let x: f64 = circle.split('"').next().unwrap().parse().unwrap();
                assert!((90.0..=700.0).contains(&x), "{drawn}");
            }
            letters(&growth(points)).unwrap();
        }
    }
}
