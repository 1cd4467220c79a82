// Every text on the page whose contrast with its ground is below 4.5 to 1, with its figure.
() => {
  const channels = (colour) => {
    const numbers = colour.match(/[\d.]+/gu).map(Number);
    return { rgb: numbers.slice(0, 3), alpha: numbers[3] ?? 1 };
  };
  const luminance = (rgb) => {
    const [red, green, blue] = rgb.map((one) => {
      const part = one / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const groundOf = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const { rgb, alpha } = channels(getComputedStyle(one).backgroundColor);
      if (alpha === 1) return rgb;
    }
    return [255, 255, 255];
  };
  const contrast = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const found = [];
  let looked = 0;
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const words = texts.currentNode.data.trim();
    if (!words || !element.checkVisibility() || element.closest("noscript, option, .unseen"))
      continue;
    looked += 1;
    const ratio = contrast(channels(getComputedStyle(element).color).rgb, groundOf(element));
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)}: ${words.slice(0, 40)}`);
  }
  return looked > 100 ? found : [`only ${looked} texts were looked at`];
};
