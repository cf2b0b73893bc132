// Light or dark like the console.
const system = matchMedia("(prefers-color-scheme: dark)");
const paint = () => {
  const chosen = localStorage.getItem("threadkeep.theme");
  const isDark = chosen ? chosen === "dark" : system.matches;
  document.documentElement.classList.toggle("dark-mode", isDark);
};
system.addEventListener("change", paint);
paint();
window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  // The token stays in this browser until "Logout" is pressed.
  persistAuthorization: true,
  displayRequestDuration: true,
  validatorUrl: null,
});
