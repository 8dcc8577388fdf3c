const line = element.querySelector(".kk-notice");
const show = () => {
  line.textContent = props.value || "";
  line.hidden = !props.value;
};
show();
watch("value", show);
