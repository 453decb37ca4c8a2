//! Plots as a file: a page that needs nothing else (inline SVG, no script, no font, no date of its making), an SVG document,
//! or an image. The name's ending says which. The same input gives the same bytes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::files;
use clap::Args;

use super::plot::svg::escape;
use super::plot::{Plot, WIDTH, png, svg};

/// Where plots go.
#[derive(Debug, Args)]
pub(super) struct PlotArgs {
    /// Write plots as a page, an SVG document or an image; may be given several times
    #[arg(long, alias = "html", value_name = "FILE.html|.svg|.png")]
    plot: Vec<PathBuf>,
}

impl PlotArgs {
    /// Writes all files that are asked for.
    pub(super) fn write(&self, title: &str, plots: impl FnOnce() -> Vec<Plot>) -> anyhow::Result<()> {
        if self.plot.is_empty() {
            return Ok(());
        }
        let plots = plots();
        for path in &self.plot {
            let file = path.display();
            let bytes = match kind(path)? {
                Kind::Page => page(title, &plots).into_bytes(),
                Kind::Svg => svg::document(&plots).into_bytes(),
                Kind::Image => png::image(&plots).with_context(|| format!("--plot {file}"))?,
            };
            files::write(path, "--plot", bytes)?;
        }
        Ok(())
    }

    /// Refuses names that no file can be made of, before anything is computed.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.plot.iter().try_for_each(|path| kind(path).map(|_| ()))
    }
}

enum Kind {
    Page,
    Svg,
    Image,
}

fn kind(path: &Path) -> anyhow::Result<Kind> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("html" | "htm") => Ok(Kind::Page),
        Some("svg") => Ok(Kind::Svg),
        Some("png") => Ok(Kind::Image),
        _ => anyhow::bail!("--plot {}: a name must end in .html, .svg or .png", path.display()),
    }
}

fn page(title: &str, plots: &[Plot]) -> String {
    let title = escape(title);
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body{{font:14px sans-serif;margin:24px;max-width:{WIDTH}px}}h2{{font-size:15px;margin:24px 0 4px}}\
         svg{{width:100%;height:auto}}text{{font-size:11px;fill:#555}}</style></head>\n<body><h1>{title}</h1>\n\
         <p>Dark: what was. Light: the median forecast, in bands that hold 50, 80 and 95 % of what may come. Shaded: events; \
         dashed: the median without knowing of them. Times are UTC.</p>\n"
    );
    for plot in plots {
        let note = if plot.note.is_empty() { String::new() } else { format!("<p>{}</p>\n", escape(&plot.note)) };
        let _ = writeln!(text, "<h2>{}</h2>\n{note}{}", escape(&plot.title), svg::inline(plot));
    }
    text + "</body></html>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_its_plots_with_their_titles() {
        let plot = Plot { title: "a<b".to_owned(), note: "so".to_owned(), step_s: 60, ..Plot::default() };
        let text = page("what & why", &[plot]);
        assert!(
            text.contains("<h2>a&lt;b</h2>\n<p>so</p>") && text.contains("<title>what &amp; why</title>"),
            "{text}"
        );
        assert!(text.contains("<svg") && !text.contains("NaN"), "{text}");
    }

    #[test]
    fn the_ending_says_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["a.html", "a.svg", "a.png"].map(|name| folder.path().join(name));
        let args = PlotArgs { plot: files.to_vec() };
        args.write("t", || vec![Plot { step_s: 60, ..Plot::default() }]).unwrap();
        let [page, svg, png] = files.map(|file| std::fs::read(file).unwrap());
        assert!(page.starts_with(b"<!DOCTYPE html>") && svg.starts_with(b"<svg xmlns") && png.starts_with(b"\x89PNG"));
        let error = PlotArgs { plot: vec!["a.gif".into()] }.check().unwrap_err().to_string();
        assert!(error.contains("a.gif: a name must end in .html, .svg or .png"), "{error}");
    }
}
