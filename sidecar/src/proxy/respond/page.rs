//! A refusal as a page: for the person in front of a browser, who can read it on a phone, without a script, and give an
//! operator what is needed to find the request.

use std::borrow::Cow;

use tollgate_auth::reason::Reason;

/// Nothing is loaded, run, framed or sent from this page; the one style is named by its digest (CSP Level 3, section 6.7).
pub(super) const POLICY: &str = "default-src 'none'; style-src 'sha256-tK4pcGXFPrTg7kJfA3LSJ98kqPAchW31eWQoaaor+gQ='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What stands between `<style>` and `</style>`, byte for byte.
const STYLE: &str = ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;margin:0;padding:10vh 1.25rem}main{max-width:34rem;margin:auto}h1{font-size:1.5rem;line-height:1.25;margin:0 0 1rem}dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1rem;margin:2rem 0 0;font-size:.875rem;opacity:.8}dd{margin:0}code{overflow-wrap:anywhere}";

/// The page. What is not a constant of ours is escaped.
pub(super) fn render(title: &str, reason: Reason, text: Option<&str>, request_id: &str) -> String {
    // The operator's language is not known; the empty one says so (HTML, section 3.2.6.1).
    let text = text
        .map(|text| format!("<p lang=\"\">{}</p>\n", escaped(text)))
        .unwrap_or_default();
    format!(
        "<!doctype html>\n\
         <html lang=\"en\">\n\
         <head>\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n\
         <title>{status} {title}</title>\n\
         <style>{STYLE}</style>\n\
         </head>\n\
         <body>\n\
         <main>\n\
         <h1>{sentence}</h1>\n\
         {text}\
         <p>{remedy}</p>\n\
         <dl>\n\
         <dt>Status</dt><dd>{status} {title}</dd>\n\
         <dt>Reason</dt><dd><code>{reason}</code></dd>\n\
         <dt>Request id</dt><dd><code>{request_id}</code></dd>\n\
         </dl>\n\
         </main>\n\
         </body>\n\
         </html>\n",
        status = reason.status(),
        title = escaped(title),
        sentence = escaped(reason.sentence()),
        remedy = escaped(reason.remedy().text()),
        request_id = escaped(request_id),
    )
}

/// Text as it may stand in an element or a quoted attribute.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn the_policy_allows_the_one_style_of_the_page() {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
        let digest = STANDARD.encode(digest);
        assert!(POLICY.contains(&format!("'sha256-{digest}'")), "{digest}");
        let page = render("Forbidden", Reason::ClaimDenied, None, "1");
        assert_eq!(page.matches("<style>").count(), 1);
        assert!(page.contains(&format!("<style>{STYLE}</style>")));
        assert!(!STYLE.contains('<'));
    }

    #[test]
    fn nothing_in_a_text_becomes_markup() {
        let hostile = "</p><script>alert('x')</script>\"&amp;<!--";
        let page = render("Forbidden", Reason::ClaimDenied, Some(hostile), hostile);
        assert!(
            !page.contains("<script") && !page.contains("<!--"),
            "{page}"
        );
        let shown =
            "&lt;/p&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;amp;&lt;!--";
        assert_eq!(page.matches(shown).count(), 2, "{page}");
        assert_eq!(escaped("plain text, ä"), "plain text, ä");
    }

    /// For every reason: well-formed, without anything that runs or loads.
    #[test]
    fn every_reason_has_its_page() {
        for reason in Reason::ALL {
            let page = render("Title", *reason, Some("Call 42."), "id-1");
            for part in [
                reason.word(),
                reason.sentence(),
                "Call 42.",
                "id-1",
                "lang=\"en\"",
            ] {
                assert!(page.contains(part), "{reason}: {part}");
            }
            for (open, close) in [("<p", "</p>"), ("<dd>", "</dd>"), ("<main>", "</main>")] {
                assert_eq!(page.matches(open).count(), page.matches(close).count());
            }
            for bad in ["<script", "src=", "href=", "style=", "url(", "@import"] {
                assert!(!page.contains(bad), "{reason}: {bad}");
            }
        }
    }
}
