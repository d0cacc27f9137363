// The report of `element-rekey report --html`, in a real browser: the golden file that tests/unit/cli holds to the code.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import chromium from "@sparticuz/chromium";
import axe from "axe-core";
import { chromium as playwright } from "playwright-core";

const REPORT = new URL("../unit/cli/golden/report.html", import.meta.url).href;
const SCHEMES = ["light", "dark"];
const PHONE = { width: 390, height: 844 };
const DESK = { width: 1100, height: 900 };

let browser;

before(async () => {
  const flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"];
  browser = await playwright.launch({ executablePath: await chromium.executablePath(), args: flags });
});

after(() => browser.close());

// Open the report, and hand it to `look`; nothing may be asked for but the file, and nothing may run or be refused.
async function opened(options, look) {
  const context = await browser.newContext(options);
  try {
    const page = await context.newPage();
    const asked = [];
    const said = [];
    page.on("request", (request) => asked.push(request.url()));
    page.on("console", (message) => said.push(message.text()));
    page.on("dialog", (dialog) => said.push(dialog.message()) && dialog.dismiss());
    await page.goto(REPORT);
    await look(page);
    assert.deepEqual(asked, [REPORT]);
    assert.deepEqual(said, []);
  } finally {
    await context.close();
  }
}

for (const viewport of [PHONE, DESK]) {
  test(`nothing is wider than a window of ${viewport.width} pixels but what scrolls by itself`, () =>
    opened({ viewport }, async (page) => {
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.equal(width, viewport.width);
    }));

  test(`no word of a heading is broken in a window of ${viewport.width} pixels`, () =>
    opened({ viewport }, async (page) => {
      const broken = await page.evaluate(() => {
        const range = document.createRange();
        const lines = (node, from, to) => {
          range.setStart(node, from);
          range.setEnd(node, to);
          return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size;
        };
        const texts = [...document.querySelectorAll("thead th")].map((cell) => cell.firstChild);
        return texts.flatMap((node) =>
          [...node.data.matchAll(/\S+/g)].filter((word) => lines(node, word.index, word.index + word[0].length) > 1).map(String),
        );
      });
      assert.deepEqual(broken, []);
    }));
}

for (const colorScheme of SCHEMES) {
  test(`a screen reader and a reader with weak eyes can use it, in ${colorScheme}`, () =>
    opened({ viewport: DESK, colorScheme, bypassCSP: true }, async (page) => {
      await page.evaluate(axe.source);
      const found = await page.evaluate(() => window.axe.run());
      assert.ok(found.passes.some((rule) => rule.id === "color-contrast"), "contrast was not looked at");
      assert.deepEqual(found.violations.map((rule) => [rule.id, rule.nodes.map((node) => node.html.slice(0, 120))]), []);
    }));
}

test("the two colour schemes differ, and paper is white", () =>
  opened({ viewport: DESK }, async (page) => {
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const seen = [];
    for (const media of [{ colorScheme: "light" }, { colorScheme: "dark" }, { colorScheme: "dark", media: "print" }]) {
      await page.emulateMedia(media);
      seen.push(await background());
    }
    const [light, dark, paper] = seen;
    assert.notEqual(light, dark);
    assert.equal(paper, "rgb(255, 255, 255)");
  }));

test("markup in a reason stays text", () =>
  opened({ viewport: DESK }, async (page) => {
    assert.equal(await page.locator("script, img, iframe, object").count(), 0);
    assert.ok((await page.innerText("main")).includes('<script>alert("x")</script><img src=x onerror=alert(1)>'));
  }));

test("the keyboard reaches every link and everything that scrolls, in the order in which they stand, and shows where it is", () =>
  opened({ viewport: PHONE }, async (page) => {
    const stops = await page.evaluate(() => {
      window.stops = [...document.querySelectorAll("a[href], [tabindex='0']")];
      return window.stops.length;
    });
    assert.ok(stops > 5);
    for (let stop = 0; stop < stops; stop += 1) {
      await page.keyboard.press("Tab");
      const [at, outline] = await page.evaluate(() => {
        const now = document.activeElement;
        return [window.stops.indexOf(now), getComputedStyle(now).outlineStyle];
      });
      assert.equal(at, stop);
      assert.notEqual(outline, "none");
    }
  }));

test("it prints, and a row is not cut by the end of a page", () =>
  opened({ viewport: DESK }, async (page) => {
    await page.emulateMedia({ media: "print" });
    const styles = await page.evaluate(() => [...document.querySelectorAll("tr")].map((row) => getComputedStyle(row).breakInside));
    assert.deepEqual(new Set(styles), new Set(["avoid"]));
    const paper = await page.pdf({ format: "A4", preferCSSPageSize: true });
    assert.equal(paper.subarray(0, 5).toString(), "%PDF-");
    assert.ok(paper.toString("latin1").match(/\/Type\s*\/Page\b/g).length > 1);
  }));
