//! What the hand-made reviews show.

use relay_core::protocol::review::ReviewChange;

use super::made::Made;

/// What nobody may have act on a page.
pub(super) const HOSTILE: &str = "</code></td><script>window.acted = 1</script><img src=x onerror=\"window.acted = 2\">\u{1b}[31mred\u{202e}txt.exe\u{200b}\u{0}";

const RUST: &str = r#"@impl Basket {
     /// What all of it costs, in cents.
     pub fn total(&self) -> u64 {
-        self.items.iter().map(|item| item.price * item.count).sum()
+        let sum: u64 = self.items.iter().map(|item| item.price * u64::from(item.count)).sum();
+        // A voucher never makes a basket cost less than nothing.
+        sum.saturating_sub(self.voucher.unwrap_or(0))
     }
 
     /// Put something in.
@#[cfg(test)] mod tests
     #[test]
     fn an_empty_basket_costs_nothing() {
-        assert_eq!(Basket::new().total(), 1);
+        assert_eq!(Basket::new().total(), 0);
     }
"#;

const TYPESCRIPT: &str = r#"@export async function checkout
   const basket = await load(id);
-  const label = `Pay ${basket.total}`;
+  const label = `Pay ${format(basket.total, "EUR")} now`;
   /* The button is drawn by the shop itself. */
   return { label, enabled: basket.total > 0 && !basket.locked && basket.items.every((item) => item.available) };
"#;

const TOML: &str = "@[dependencies]\n serde = \"1\"\n-time = { version = \"0.3\", features = [\"std\"] }\n+time = { version = \"0.3\", features = [\"std\", \"macros\"] }\n\\No newline at end of file\n";

const HEBREW: &str = "@\n greeting = \"שלום\"\n+farewell = \"להתראות\"\n+wide = \"全角の文字\"\n";

/// A little of everything.
pub(super) fn everything(before: Vec<u8>, after: Vec<u8>) -> Made {
    Made::default()
        .file("shop/src/basket.rs", ReviewChange::Modified, RUST)
        .file("web/src/pages/checkout/button.ts", ReviewChange::Renamed, TYPESCRIPT)
        .renamed_from("web/src/pages/button.ts")
        .file("Cargo.toml", ReviewChange::Modified, TOML)
        .file("web/public/logo.png", ReviewChange::Modified, "")
        .note("binary, 1 kB → 2 kB")
        .pictures(before, after)
        .file("tools/release.sh", ReviewChange::Modified, "")
        .note("mode 100644 → 100755")
        .file("i18n/he.toml", ReviewChange::Added, HEBREW)
        .file(&format!("docs/{HOSTILE}.md"), ReviewChange::Deleted, &format!("@{HOSTILE}\n-{HOSTILE}\n"))
        .note(&format!("not UTF-8 {HOSTILE}"))
}

/// So many rows, as a program writes them.
pub(in crate::web) fn long(rows: usize) -> Made {
    let line = |at: usize| format!("+    let value_{at} = compute(\"row {at}\", {at}); // and so on\n");
    let half: String = (0..rows / 2).map(line).collect();
    let rest: String = (rows / 2..rows).map(line).collect();
    Made::default().file("src/generated/first.rs", ReviewChange::Added, &half).file(
        "src/generated/second.rs",
        ReviewChange::Added,
        &rest,
    )
}
