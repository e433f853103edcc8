"""Page style: the page's style, with fonts that every system has, so that none is loaded."""

from __future__ import annotations

SANS = ("system-ui", "Segoe UI", "Helvetica", "Arial", "sans-serif")
MONO = ("ui-monospace", "Menlo", "Consolas", "monospace")

LIGHT = "() => document.body.classList.remove('dark')"
"""Charts are drawn for a light page."""

CSS = """
.gradio-container { max-width: 1400px !important; }
.emo { font-size: 14px; line-height: 1.5; color: #111; }
.emo h3 { font-size: 15px; font-weight: 600; margin: 18px 0 6px; overflow-wrap: anywhere; }
.emo dl { display: grid; grid-template-columns: minmax(100px, max-content) 1fr; gap: 4px 18px; margin: 8px 0; }
.emo dt { font-weight: 600; max-width: 230px; overflow-wrap: anywhere; }
.emo dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
.emo .two { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 4fr); gap: 8px 36px; }
.emo p.note { color: #444; font-size: 13px; margin: 6px 0; overflow-wrap: anywhere; }
.emo p.problem { background: #fdf3ec; border: 1px solid #c9682b; border-radius: 4px; padding: 10px 14px; margin: 8px 0;
  overflow-wrap: anywhere; }
.emo .scroll { overflow: auto; max-height: 60vh; border: 1px solid #ccc; }
.emo table { border-collapse: separate; border-spacing: 0; font-size: 13px; font-variant-numeric: tabular-nums; }
.emo .scroll table { width: 100%; }
.emo th, .emo td { padding: 4px 9px; text-align: left; vertical-align: top; border-bottom: 1px solid #e4e4e4;
  overflow-wrap: anywhere; }
.emo th { font-weight: 600; overflow-wrap: normal; }
.emo thead th { position: sticky; top: 0; background: #eef2f7; }
.emo .n { text-align: right; white-space: nowrap; }
.emo table.matrix td, .emo table.matrix th { border: 1px solid #fff; min-width: 60px; font-weight: 400; }
.emo table.matrix td { text-align: right; }
.emo .c0 { background: #f5f8fc; } .emo .c1 { background: #e4edf6; } .emo .c2 { background: #d2e1ef; }
.emo .c3 { background: #bed4e8; } .emo .c4 { background: #a8c6e0; } .emo .c5 { background: #90b5d6; }
.emo .c6 { background: #4f86b8; color: #fff; } .emo .c7 { background: #3a76ac; color: #fff; }
.emo .c8 { background: #2667a0; color: #fff; } .emo .c9 { background: #155a94; color: #fff; }
.emo .c10 { background: #0b4a80; color: #fff; }
.emo td:first-child, .emo .scroll td.n { white-space: nowrap; }
#runs td:nth-child(-n+4) { white-space: nowrap; }
#refresh { align-self: center; height: 44px; }
.grid * { font-family: inherit !important; font-size: 13px !important; }
.grid th, .grid th * { font-family: inherit !important; font-size: 13px !important; }
.grid th, .grid th * { word-break: keep-all !important; overflow-wrap: normal !important; hyphens: none; }
.grid td { font-variant-numeric: tabular-nums; }
.modebar-btn--logo { display: none !important; }
@media (max-width: 900px) { .emo .two, .emo dl { grid-template-columns: 1fr; } }
"""
